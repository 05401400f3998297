"""Image sources of a data set: folders, folders with a meta-info file, or LMDB."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from metaf2n_arch.data.meta_lines import read_meta_info
from metaf2n_arch.images.listing import scan_images
from metaf2n_arch.images.reading import decode_image, image_size, read_image
from metaf2n_arch.utils.checks import DataError

# BasicSR's logger, by name: BasicSR's own function would attach its handlers too early.
logger = logging.getLogger('basicsr')

MAX_HEADERS = 2000
"""Largest number of image headers that are checked before training starts."""


class ImageSource:
    """A list of images that can be read by index, also in worker processes.

    Args:
        root: folder, searched with its subfolders in sorted order, or a `.lmdb` folder in BasicSR's layout.
        meta_info: text file with one image per line, relative to `root`: ``name.png (h,w,c) ...``; of a pair
            ``gt/a.png, lq/a.png`` the first is used. Sizes are optional.
        where: key path of the option that names `root`, for errors.
        skip_unreadable: whether headers that cannot be read are ignored here; the loader then skips and lists these
            images.

    Raises:
        DataError: the folder or file is missing, the LMDB is cut off, or there is no image.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        meta_info: str | os.PathLike[str] | None,
        where: str,
        skip_unreadable: bool = False,
    ) -> None:
        self.root = Path(root).expanduser()
        self.where = where
        self.skip_unreadable = skip_unreadable
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
        if self.is_lmdb:
            check_lmdb(self.root, where)

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> str:
        """Returns the path of image `index`, for errors and for names of results; in an LMDB there is no such file."""
        return str(self.root / self.names[index])

    def read(self, index: int) -> np.ndarray:
        """Returns image `index`: (H, W, 3) RGB, uint8 or uint16.

        Raises:
            DataError: it is missing or damaged.
        """
        if self.is_lmdb:
            return decode_image(self._lmdb_bytes(index), self.path(index))
        return read_image(self.path(index))

    def size(self, index: int) -> tuple[int, int]:
        """Returns (height, width) of image `index` from its header."""
        return image_size(self._lmdb_bytes(index) if self.is_lmdb else self.path(index), self.path(index))

    def unfit(self, fits: Callable[[int, int], bool]) -> list[str]:
        """Returns the images, with their sizes, for which `fits(height, width)` is false.

        It checks all sizes in the meta-info file, and up to `MAX_HEADERS` headers, spread evenly over the images
        without a size there. If a size in the meta-info file does not fit, the header decides, because such files may
        be wrong.
        """
        unknown = [i for i, size in enumerate(self.sizes) if size is None]
        suspects = [i for i, size in enumerate(self.sizes) if size is not None and not fits(*size)]
        suspects += unknown[:: max(1, -(-len(unknown) // MAX_HEADERS))]
        sizes = readable(
            {index: partial(self.size, index) for index in sorted(suspects)}, self.where, self.skip_unreadable
        )
        return [f'{self.path(index)} ({h}x{w})' for index, (h, w) in sizes.items() if not fits(h, w)]

    def require_at_least(self, height: int, width: int, why: str) -> None:
        """Raises `DataError` if images are smaller than (height, width); it names the first few, see `unfit`."""
        small = self.unfit(lambda h, w: h >= height and w >= width)
        if small:
            raise DataError(
                f'{self.where}: {first_few(small)} smaller than {height}x{width}, {why}; remove them or lower it.'
            )

    def _lmdb_bytes(self, index: int) -> bytes:
        key = os.path.splitext(self.names[index])[0]
        with _open_lmdb(str(self.root), self.where).begin(write=False) as transaction:
            data = transaction.get(key.encode())
        if data is None:
            raise DataError(f'{self.where}: {self.root} has no entry {key!r} although its meta_info.txt lists it.')
        return bytes(data)


Key = TypeVar('Key')
Header = TypeVar('Header')


def readable(
    headers: Mapping[Key, Callable[[], Header]], where: str, skip_unreadable: bool = False
) -> dict[Key, Header]:
    """Calls the functions that read image headers, and returns their results without those that failed.

    Args:
        headers: key -> function that returns a header, or raises `DataError`.
        where: key path of the option, for messages.
        skip_unreadable: whether some may fail; their number is logged.

    Raises:
        DataError: a header cannot be read and `skip_unreadable` is false, or no header can be read.
    """
    found: dict[Key, Header] = {}
    faults: list[str] = []
    for key, header in headers.items():
        try:
            found[key] = header()
        except DataError as error:
            faults.append(str(error))
    if faults and not (skip_unreadable and found):
        more = f' {len(faults) - 1} more cannot be read.' if len(faults) > 1 else ''
        skip = ' To skip such images, set datasets.train.skip_unreadable: true.' if found else ''
        raise DataError(faults[0] + more + (skip if where.startswith('datasets.train') else ''))
    if faults:
        logger.warning(
            '%s: %d of %d headers cannot be read; these images are skipped.', where, len(faults), len(headers)
        )
    return found


# Folder -> (process, environment). LMDB cannot open a folder twice in a process, nor use an environment after a fork.
_environments: dict[str, tuple[int, Any]] = {}


def check_lmdb(root: Path, where: str) -> None:
    """Checks that a folder is an LMDB and is complete.

    Raises:
        DataError: it is not an LMDB, or is cut off.
    """
    if _environments.get(str(root), (-1, None))[0] == os.getpid():
        return  # it was checked when it was opened
    open_whole(root, where).close()


def open_whole(root: Path, where: str) -> Any:
    """Opens an LMDB for reading; raises `DataError` if it is not an LMDB, or is cut off."""
    import lmdb

    try:
        environment = lmdb.open(str(root), readonly=True, lock=False, readahead=False)
    except lmdb.Error as error:
        raise DataError(f'{where}: {root} cannot be opened as LMDB: {error}.') from None
    require_whole(environment, root, where)
    return environment


def _open_lmdb(root: str, where: str) -> Any:
    """Returns the environment of this process for `root`; opens it at the first call."""
    process, environment = _environments.get(root, (-1, None))
    if process != os.getpid():
        if environment is not None:
            environment.close()
        environment = open_whole(Path(root), where)
        _environments[root] = os.getpid(), environment
    return environment


def require_whole(environment: Any, root: Path, where: str) -> None:
    """Checks that an LMDB's file is as long as its header says; reading beyond its end would kill the process (SIGBUS).

    Raises:
        DataError: the file is shorter.
    """
    file = root / 'data.mdb' if root.is_dir() else root
    needed = (environment.info()['last_pgno'] + 1) * environment.stat()['psize']
    size = file.stat().st_size
    if size < needed:
        environment.close()
        raise DataError(f'{where}: {file} is cut off: {size} of {needed} bytes are there; copy it or make it again.')


def first_few(offenders: Sequence[str], count: int = 3) -> str:
    """Returns a list's first names, the number of the others, and the verb: ``a, b, c and 5 more are``."""
    shown = ', '.join(offenders[:count])
    rest = len(offenders) - count
    return f'{shown} and {rest} more are' if rest > 0 else f'{shown} {"is" if len(offenders) == 1 else "are"}'


def report_ignored(others: Iterable[str], where: str) -> None:
    """Logs one line about the files of a folder that are not images."""
    others = list(others)
    if others:
        logger.warning('%s: %s ignored, no image suffix.', where, first_few(others))


def _scan(folder: Path, where: str) -> list[str]:
    images, others = scan_images(folder)
    report_ignored(others, where)
    return images
