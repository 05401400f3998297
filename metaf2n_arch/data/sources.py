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
        skip_unreadable: whether headers that cannot be read are passed over; the loader then meets and lists them.

    Raises:
        DataError: the folder or file is missing or cut off, or there is no picture.
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
        sizes = readable(
            {index: partial(self.size, index) for index in sorted(suspects)}, self.where, self.skip_unreadable
        )
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


Key = TypeVar('Key')
Header = TypeVar('Header')


def readable(
    headers: Mapping[Key, Callable[[], Header]], where: str, skip_unreadable: bool = False
) -> dict[Key, Header]:
    """Returns what each function has read from the header of an image, without those that cannot be read.

    Args:
        headers: functions that raise `DataError` where there is no header.
        where: key path of the option, for messages.
        skip_unreadable: whether some may be left out; how many is logged.

    Raises:
        DataError: a header cannot be read and none may be left out, or none can be read.
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
        skip = ' To pass over such images, set datasets.train.skip_unreadable: true.' if found else ''
        raise DataError(faults[0] + more + (skip if where.startswith('datasets.train') else ''))
    if faults:
        logger.warning(
            '%s: %d of %d headers cannot be read; these images are skipped.', where, len(faults), len(headers)
        )
    return found


# LMDB refuses to open a folder twice in a process, and an environment must not cross a fork.
_environments: dict[str, tuple[int, Any]] = {}


def check_lmdb(root: Path, where: str) -> None:
    """Looks whether a folder is an LMDB and whole, and closes it again.

    Raises:
        DataError: it is no LMDB, or cut off.
    """
    if _environments.get(str(root), (-1, None))[0] == os.getpid():
        return  # looked at when it was opened
    open_whole(root, where).close()


def open_whole(root: Path, where: str) -> Any:
    """Opens an LMDB for reading; raises `DataError` if it is none, or cut off."""
    import lmdb

    try:
        environment = lmdb.open(str(root), readonly=True, lock=False, readahead=False)
    except lmdb.Error as error:
        raise DataError(f'{where}: {root} cannot be opened as LMDB: {error}.') from None
    require_whole(environment, root, where)
    return environment


def _open_lmdb(root: str, where: str) -> Any:
    """Returns the one environment of this process for `root`."""
    process, environment = _environments.get(root, (-1, None))
    if process != os.getpid():
        if environment is not None:
            environment.close()
        environment = open_whole(Path(root), where)
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
