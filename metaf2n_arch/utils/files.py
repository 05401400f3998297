"""Atomic file writes: a file is complete or absent, whenever the program is stopped.

Each file is first written under a hidden name in the same folder, see `open_beside`, and then renamed. A file that must
wait for others before it is renamed is staged, see `utils.staging`.
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
    """Writes a file as `whole_file` does; text is encoded as UTF-8."""
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Opens a file for writing that is renamed to `path` when the block ends without an error.

    The content goes into a hidden file in the same folder. Its name is unique and short, so that `path` may have any
    name that the file system accepts. Missing folders are made. An error in the block leaves no file behind.

    Raises:
        DataError: the file cannot be written; a former file at `path` is unchanged.
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
            with contextlib.suppress(OSError):  # it was renamed, or its folder was removed
                os.unlink(file.name)


def open_beside(path: Path) -> BinaryIO:
    """Opens a new hidden file in the folder of `path`; its name is random, so that writers on any machine differ."""
    return cast(BinaryIO, path.with_name(f'.{secrets.token_hex(8)}{TEMPORARY}').open('x+b'))
