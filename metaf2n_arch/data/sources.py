"""Where the pictures of a data set come from: folders, folders with a meta-info file, or LMDB."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metaf2n_arch.images.formats import is_image_name
from metaf2n_arch.images.reading import decode_image, image_size, read_image
from metaf2n_arch.utils.checks import DataError

# The host's own logger by its name: asking the host for it would attach its handlers too early.
logger = logging.getLogger('basicsr')

_META_LINE = re.compile(r'^(?P<name>.*?)(?:\s+\((?P<height>\d+),\s*(?P<width>\d+)(?:,\s*\d+)?\).*)?$')
MAX_HEADERS = 2000
"""How many files' headers are looked at before training starts."""


class ImageSource:
    """A list of pictures that can be read by number, in worker processes too.

    Args:
        root: folder, searched with its subfolders in sorted order, or a `.lmdb` folder in BasicSR's layout.
        meta_info: text file with one picture a line, relative to `root`: ``name.png (h,w,c) ...``; of a pair
            ``gt/a.png, lq/a.png`` the first counts. Sizes are optional.
        where: key path of the option that names `root`, for errors.

    Raises:
        DataError: the folder or file is missing, or there is no picture.
    """

    def __init__(self, root: str | os.PathLike[str], meta_info: str | os.PathLike[str] | None, where: str) -> None:
        self.root = Path(root).expanduser()
        self.where = where
        self.is_lmdb = self.root.suffix == '.lmdb'
        if not self.root.is_dir():
            kind = 'a file' if self.root.exists() else 'missing'
            raise DataError(f'{where}: {self.root} is {kind}, expected a folder of images or a .lmdb folder.')
        if self.is_lmdb or meta_info is not None:
            listing = self.root / 'meta_info.txt' if meta_info is None else Path(meta_info).expanduser()
            self.names, self.sizes = _read_meta_info(listing, where)
        else:
            self.names = _scan(self.root, where)
            self.sizes = [None] * len(self.names)
        if not self.names:
            raise DataError(f'{where}: there is no image in {self.root if meta_info is None else meta_info}.')

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> str:
        """Returns what an error, or the name of a result, should call the picture."""
        return str(self.root / self.names[index])

    def read(self, index: int) -> np.ndarray:
        """Returns picture `index`: (H, W, 3) RGB, uint8 or uint16."""
        if self.is_lmdb:
            return decode_image(self._lmdb_bytes(index), self.path(index))
        return read_image(self.path(index))

    def size(self, index: int) -> tuple[int, int]:
        """Returns (height, width) of picture `index` from its header."""
        return image_size(self._lmdb_bytes(index) if self.is_lmdb else self.path(index), self.path(index))

    def unfit(self, fits: Callable[[int, int], bool]) -> list[str]:
        """Returns the pictures, with their sizes, for which `fits(height, width)` is false.

        Looks at all sizes that the meta-info gives and at up to `MAX_HEADERS` headers spread evenly over the others.
        What the meta-info calls unfit is looked at itself: such files are made by hand and err.
        """
        unknown = [i for i, size in enumerate(self.sizes) if size is None]
        suspects = [i for i, size in enumerate(self.sizes) if size is not None and not fits(*size)]
        suspects += unknown[:: max(1, -(-len(unknown) // MAX_HEADERS))]
        sizes = {index: self.size(index) for index in sorted(suspects)}
        return [f'{self.path(index)} ({h}x{w})' for index, (h, w) in sizes.items() if not fits(h, w)]

    def require_at_least(self, height: int, width: int, why: str) -> None:
        """Raises `DataError` if pictures are smaller than (height, width), naming the first few; see `unfit`."""
        small = self.unfit(lambda h, w: h >= height and w >= width)
        if small:
            raise DataError(
                f'{self.where}: {first_few(small)} smaller than {height}x{width}, {why}; remove them or ask for less.'
            )

    def _lmdb_bytes(self, index: int) -> bytes:
        key = os.path.splitext(self.names[index])[0]
        with _open_lmdb(str(self.root), self.where).begin(write=False) as transaction:
            data = transaction.get(key.encode())
        if data is None:
            raise DataError(f'{self.where}: {self.root} has no entry {key!r} although its meta_info.txt lists it.')
        return bytes(data)


# LMDB refuses to open a folder twice in a process, and an environment must not cross a fork.
_environments: dict[str, tuple[int, Any]] = {}


def _open_lmdb(root: str, where: str) -> Any:
    """Returns the one environment of this process for `root`."""
    import lmdb

    process, environment = _environments.get(root, (-1, None))
    if process != os.getpid():
        if environment is not None:
            environment.close()
        try:
            environment = lmdb.open(root, readonly=True, lock=False, readahead=False)
        except lmdb.Error as error:
            raise DataError(f'{where}: {root} cannot be opened as LMDB: {error}.') from None
        _environments[root] = os.getpid(), environment
    return environment


def first_few(offenders: Sequence[str], count: int = 3) -> str:
    """Returns the first offenders and the number of the others, and the verb: ``a, b and 5 more are``."""
    shown = ', '.join(offenders[:count])
    rest = len(offenders) - count
    return f'{shown} and {rest} more are' if rest > 0 else f'{shown} {"is" if len(offenders) == 1 else "are"}'


def scan_images(folder: Path) -> tuple[list[str], list[str]]:
    """Returns sorted relative paths of the images below `folder`, and of the other files; hidden ones are left out.

    Linked folders are searched too, save those that lead back to a folder they are reached through.
    """
    images: list[str] = []
    others: list[str] = []
    through = {str(folder): {os.path.realpath(folder)}}
    for parent, folders, files in os.walk(str(folder), followlinks=True):
        above = through.pop(parent)
        inner = {os.path.join(parent, f): f for f in sorted(folders) if not f.startswith('.')}
        places = {path: os.path.realpath(path) for path in inner}
        folders[:] = [inner[path] for path, place in places.items() if place not in above]
        through |= {path: {*above, place} for path, place in places.items() if place not in above}
        for name in files:
            if not name.startswith('.'):
                relative = os.path.relpath(os.path.join(parent, name), folder)
                (images if is_image_name(name) else others).append(relative)
    return sorted(images), sorted(others)


def report_ignored(others: Iterable[str], where: str) -> None:
    """Logs, once for a folder, the files that are no images."""
    others = list(others)
    if others:
        logger.warning('%s: %s ignored, no image suffix.', where, first_few(others))


def _scan(folder: Path, where: str) -> list[str]:
    images, others = scan_images(folder)
    report_ignored(others, where)
    return images


def _read_meta_info(listing: Path, where: str) -> tuple[list[str], list[tuple[int, int] | None]]:
    try:
        lines = listing.read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, 'strerror', None) or 'it is not UTF-8 text'
        raise DataError(f'{where}: the meta-info file {listing} cannot be read: {reason}.') from None
    names: list[str] = []
    sizes: list[tuple[int, int] | None] = []
    for line in lines:
        match = _META_LINE.match(line.strip())
        if match and match['name']:
            names.append(match['name'].split(', ')[0].strip())
            sizes.append((int(match['height']), int(match['width'])) if match['height'] else None)
    return names, sizes
