"""Staged files: written and on the disk under a name of their own, hashed on the way, not yet in their place.

Between staging and publishing a program may do what has to come first, for example say in another file which hash to
expect. A kill at any moment leaves the old file or the new one, never a part of either.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from metaf2n_arch.utils.checks import DataError, make_folder
from metaf2n_arch.utils.files import TEMPORARY, open_beside

BLOCK = 1 << 20


@dataclass(frozen=True)
class Staged:
    """A file that waits to take its place.

    Attributes:
        path: its place.
        temporary: where it is now, in the same folder.
        sha256: hash of what was handed to the system, in hexadecimal digits; not of what was read back.
        size: its length in bytes.
    """

    path: Path
    temporary: Path
    sha256: str
    size: int

    def publish(self) -> None:
        """Puts the file into its place, durably.

        Raises:
            DataError: it cannot be put there; what `path` held before is untouched.
        """
        try:
            os.replace(self.temporary, self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            self.discard()
            raise DataError(f'{self.path}: could not be written ({cause(error)}); {REMEDY}') from error

    def discard(self) -> None:
        """Removes the file that waits."""
        self.temporary.unlink(missing_ok=True)


REMEDY = 'free space there, then resume.'


def stage(path: Path, write: Callable[[IO[bytes]], Any]) -> Staged:
    """Writes a file beside `path`, with the folders it needs, and flushes it to the disk.

    What a killed process has left is for `sweep`.

    Args:
        path: where the file is to be.
        write: writes the content into the open file that it gets, front to back.

    Raises:
        DataError: it could not be written; no temporary file stays.
    """
    path = Path(path)
    make_folder(path.parent)
    temporary = None
    try:
        with open_beside(path) as file:
            temporary = Path(file.name)
            hashing = HashingFile(file)
            try:
                write(hashing)  # type: ignore[arg-type]  # all of a file that writers of one pass use
                hashing.flush()
                os.fsync(file.fileno())
            finally:
                digest, size = hashing.finish()
    except BaseException as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError | RuntimeError):
            raise DataError(f'{path}: could not be written ({cause(error)}); {REMEDY}') from error
        raise
    return Staged(path, temporary, digest, size)


class HashingFile:
    """A file that hashes what is written to it in a thread, while the next block is made and the disk is waited for.

    Args:
        file: the binary file behind it.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._block = bytearray()
        self._hash = hashlib.sha256()
        self._size = 0
        self._blocks: queue.Queue[bytes | bytearray | None] = queue.Queue(maxsize=64)
        self._thread = threading.Thread(target=self._hash_blocks, name='hash of a file', daemon=True)
        self._thread.start()

    def write(self, data: Any) -> int:
        """Takes bytes, which the caller may change afterwards."""
        self._block += data
        if len(self._block) >= BLOCK:
            self._pass_on()
        return len(data)

    def flush(self) -> None:
        self._pass_on()
        self._file.flush()

    def finish(self) -> tuple[str, int]:
        """Ends the thread; returns the hash and the number of bytes."""
        self._blocks.put(None)
        self._thread.join()
        return self._hash.hexdigest(), self._size

    def _pass_on(self) -> None:
        block, self._block = self._block, bytearray()
        self._size += len(block)
        self._blocks.put(block)
        self._file.write(block)

    def _hash_blocks(self) -> None:
        while (block := self._blocks.get()) is not None:
            self._hash.update(block)


def sweep(folder: Path) -> None:
    """Removes temporary files that killed processes have left. Only for whoever alone may write into `folder`."""
    for file in folder.glob(f'.*{TEMPORARY}'):
        file.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Returns the hash of a file in hexadecimal digits.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with open(path, 'rb') as file:
            digest = hashlib.sha256()
            while block := file.read(BLOCK):
                digest.update(block)
            return digest.hexdigest()
    except OSError as error:
        raise DataError(f'{path}: cannot be read ({error.strerror or error}).') from None


def cause(error: BaseException | None) -> str:
    """Returns the system's own words where there are any: torch reports a full disk as an unexpected position."""
    last = str(error).splitlines()[0] if str(error) else type(error).__name__
    while error is not None:
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        error = error.__context__
    return last


def sync_folder(folder: Path) -> None:
    """Makes a rename durable, where the system can (not on Windows)."""
    if not hasattr(os, 'O_DIRECTORY'):
        return
    descriptor = os.open(folder, os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
