"""Files that are there whole or not at all, whenever the program is stopped.

All are written under a hidden name beside their place first, see `open_beside`. What is written here takes its place at
once; a file that waits for others, with its hash, is staged, see `utils.staging`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from metaf2n_arch.utils.checks import DataError, make_folder

TEMPORARY = '.tmp'


def write_whole(path: Path, content: bytes | str) -> None:
    """Writes a file as `whole_file` does; a text as UTF-8."""
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes its name when the block ends well; an error in the block leaves nothing.

    The content goes into a hidden file beside `path`, whose name is like no other and short, so that any name that the
    file system takes is fine for `path`. The folders that it needs are made.

    Raises:
        DataError: it cannot be written; what `path` held before is untouched.
    """
    make_folder(path.parent)
    file = None
    try:
        file = open_beside(path)
        with file:
            yield file
        os.replace(file.name, path)
    except OSError as error:
        raise DataError(f'{path} cannot be written: {error.strerror or error}.') from None
    finally:
        if file is not None:
            with contextlib.suppress(OSError):  # it has its name by now, or is gone with its folder
                os.unlink(file.name)


def open_beside(path: Path) -> BinaryIO:
    """A new hidden file in the folder of `path`, whose name no two writers share, on whichever machines."""
    return cast(BinaryIO, path.with_name(f'.{secrets.token_hex(8)}{TEMPORARY}').open('x+b'))
