"""Staged files: written to the disk under a temporary name, hashed while they are written, and published later.

Between staging and publishing a program can do what must come first, for example write the expected hash into another
file. If the program is killed at any moment, the old file or the new one is there, complete.
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
    """A file that is written but not yet published.

    Attributes:
        path: its final path.
        temporary: its path now, in the same folder.
        sha256: SHA-256 of the bytes that were written, in hexadecimal digits; the file is not read back.
        size: its length in bytes.
    """

    path: Path
    temporary: Path
    sha256: str
    size: int

    def publish(self) -> None:
        """Renames the file to its final path, and flushes the folder to the disk.

        Raises:
            DataError: it cannot be renamed; a former file at `path` is unchanged.
        """
        try:
            os.replace(self.temporary, self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            self.discard()
            raise DataError(f'{self.path}: could not be written ({cause(error)}); {REMEDY}') from error

    def discard(self) -> None:
        """Removes the temporary file."""
        self.temporary.unlink(missing_ok=True)


REMEDY = 'free space there, then resume.'


def stage(path: Path, write: Callable[[IO[bytes]], Any]) -> Staged:
    """Writes a temporary file in the folder of `path`, which is made if missing, and flushes it to the disk.

    A killed process may leave such a file; `sweep` removes it.

    Args:
        path: final path of the file.
        write: called with the open file; writes the content from the first byte to the last, without seeking.

    Raises:
        DataError: it could not be written; no temporary file is left.
    """
    path = Path(path)
    make_folder(path.parent)
    temporary = None
    try:
        with open_beside(path) as file:
            temporary = Path(file.name)
            hashing = HashingFile(file)
            try:
                write(hashing)  # type: ignore[arg-type]  # has write and flush, all that a writer without seeking uses
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
    """A file whose content is hashed in a thread while it is written.

    Args:
        file: the binary file that gets the content.
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
        """Writes bytes; they are copied, so that the caller may change them afterwards."""
        self._block += data
        if len(self._block) >= BLOCK:
            self._pass_on()
        return len(data)

    def flush(self) -> None:
        self._pass_on()
        self._file.flush()

    def finish(self) -> tuple[str, int]:
        """Ends the thread; returns the hash in hexadecimal digits and the number of bytes."""
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
    """Removes temporary files that killed processes left. Call it only while no other process writes into `folder`."""
    for file in folder.glob(f'.*{TEMPORARY}'):
        file.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal digits.

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
    """Returns the system's message for an error, if it has one; torch reports a full disk as "unexpected pos"."""
    last = str(error).splitlines()[0] if str(error) else type(error).__name__
    while error is not None:
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        error = error.__context__
    return last


def sync_folder(folder: Path) -> None:
    """Flushes a folder to the disk, so that a rename in it is durable; does nothing on Windows."""
    if not hasattr(os, 'O_DIRECTORY'):
        return
    descriptor = os.open(folder, os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
