"""Names of data files that cannot be used.

Seen with BasicSR 1.4.2 and OpenCV 5: a corrupt image, or a text file among images, ends training with an error of NumPy
or OpenCV that names no file, because `imfrombytes` gets the bytes alone; a key that an LMDB lacks, a folder without
images and pairs that do not match end no better. Instead it is remembered which bytes came from where.
"""

from __future__ import annotations

import os.path as osp
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from metaf2n_arch.utils.checks import DataError

# (identity of the bytes, path) of the files read last by this thread; identities, so that no file is kept in memory.
_recent = threading.local()


def remember(content: Any, name: str) -> None:
    """Notes that `content` was read from the file `name`."""
    files = _recent.__dict__.setdefault('files', deque(maxlen=64))
    files.appendleft((id(content), name))


def name_of(content: Any) -> str:
    """Returns the file that `content` was read from."""
    files = _recent.__dict__.get('files', ())
    return next((name for identity, name in files if identity == id(content)), 'an image given as bytes')


def no_image(content: Any, name: str | None = None) -> DataError:
    """The error for bytes that OpenCV, which the host reads with, cannot decode."""
    return DataError(
        f'{name or name_of(content)}: not an image that OpenCV can read ({len(content)} bytes); replace the file or '
        'take it out.'
    )


def without_partner(folders: Sequence[str], names: Sequence[Iterable[str]], template: str) -> list[str]:
    """Returns a line for each file of two folders that has no partner in the other.

    Args:
        folders: of the clean and of the degraded images, or the other way round.
        names: what lies in each.
        template: how the second folder's stem comes from the first's, ``{}`` or ``{}_x4``.
    """
    here, there = (sorted(each) for each in names)
    stems = {template.format(osp.splitext(osp.basename(name))[0]) + osp.splitext(name)[1] for name in there}
    lonely = [f'{folders[1]} has no partner of {name}' for name in here if osp.basename(name) not in stems]
    known = {osp.basename(name) for name in here}
    return lonely + [f'{folders[0]} has no {name}' for name in sorted(stems) if name not in known]


def roots(options: dict[str, Any]) -> str:
    """Returns the folders and lists that a data set's options name, for a message."""
    places = [f'{key} {value}' for key, value in options.items() if key.startswith(('dataroot', 'meta_info'))]
    return ', '.join(places) or 'no folder given'
