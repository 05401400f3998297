"""Where the pictures of a data set come from: folders, folders with a meta-info file, or LMDB."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metaf2n_arch.data.meta_lines import read_meta_info
from metaf2n_arch.images.listing import scan_images
from metaf2n_arch.images.reading import decode_image, image_size, read_image
from metaf2n_arch.utils.checks import DataError

# The host's own logger by its name: asking the host for it would attach its handlers too early.
logger = logging.getLogger('basicsr')

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
            self.names, self.sizes = read_meta_info(listing, self.root, where)
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
            require_whole(environment, Path(root), where)
        except lmdb.Error as error:
            raise DataError(f'{where}: {root} cannot be opened as LMDB: {error}.') from None
        _environments[root] = os.getpid(), environment
    return environment


def require_whole(environment: Any, root: Path, where: str) -> None:
    """Refuses an LMDB whose file is shorter than its own header says: reading it would end the process (SIGBUS).

    Raises:
        DataError: it is cut off.
    """
    file = root / 'data.mdb' if root.is_dir() else root
    needed = (environment.info()['last_pgno'] + 1) * environment.stat()['psize']
    size = file.stat().st_size
    if size < needed:
        environment.close()
        raise DataError(f'{where}: {file} is cut off: {size} of {needed} bytes are there; copy or make it again.')


def first_few(offenders: Sequence[str], count: int = 3) -> str:
    """Returns the first offenders and the number of the others, and the verb: ``a, b and 5 more are``."""
    shown = ', '.join(offenders[:count])
    rest = len(offenders) - count
    return f'{shown} and {rest} more are' if rest > 0 else f'{shown} {"is" if len(offenders) == 1 else "are"}'


def report_ignored(others: Iterable[str], where: str) -> None:
    """Logs, once for a folder, the files that are no images."""
    others = list(others)
    if others:
        logger.warning('%s: %s ignored, no image suffix.', where, first_few(others))


def _scan(folder: Path, where: str) -> list[str]:
    images, others = scan_images(folder)
    report_ignored(others, where)
    return images
