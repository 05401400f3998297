"""Names of data files that cannot be used, for error messages.

Seen with BasicSR 1.4.2 and OpenCV 5: a damaged image, or a text file among images, ends training with an error of NumPy
or OpenCV that names no file, because `imfrombytes` gets only the bytes. A key that is missing in an LMDB, a folder
without images, and images without a partner end the same way. Here the file that bytes were read from is remembered.
"""

from __future__ import annotations

import os.path as osp
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from metaf2n_arch.utils.checks import DataError

# (id of the bytes, path) of the last files read by this thread; only the id, so that no content is kept in memory.
_recent = threading.local()


def remember(content: Any, name: str) -> None:
    """Remembers that `content` was read from the file `name`."""
    files = _recent.__dict__.setdefault('files', deque(maxlen=64))
    files.appendleft((id(content), name))


def name_of(content: Any) -> str:
    """Returns the file that `content` was read from."""
    files = _recent.__dict__.get('files', ())
    return next((name for identity, name in files if identity == id(content)), 'an image given as bytes')


def no_image(content: Any, name: str | None = None) -> DataError:
    """Returns the error for bytes that OpenCV cannot decode; BasicSR reads images with OpenCV."""
    return DataError(
        f'{name or name_of(content)}: not an image that OpenCV can read ({len(content)} bytes); replace or remove '
        'the file.'
    )


def without_partner(folders: Sequence[str], names: Sequence[Iterable[str]], template: str) -> list[str]:
    """Returns a line for each file of two folders that has no partner in the other.

    Args:
        folders: folder of the first images of the pairs, and that of the second.
        names: file names in each folder.
        template: stem of the first file, made from that of the second: ``{}`` or ``{}_x4``.
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
