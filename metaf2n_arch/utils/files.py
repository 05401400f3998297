"""Files that are there whole or not at all, whenever the program is stopped."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

from metaf2n_arch.utils.checks import DataError, make_folder


def write_whole(path: Path, content: bytes | str) -> None:
    """Writes a file, with the folders it needs; a text as UTF-8.

    The content goes into a hidden file of this process and thread beside `path`, which then takes its name.

    Raises:
        DataError: it cannot be written; what `path` held before is untouched.
    """
    make_folder(path.parent)
    partial = path.with_name(f'.{path.name}.{os.getpid()}.{threading.get_ident()}')
    try:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(partial, path)
    except OSError as error:
        raise DataError(f'{path} cannot be written: {error.strerror or error}.') from None
    finally:
        with contextlib.suppress(OSError):  # there is none any more, or none could be made
            partial.unlink()
