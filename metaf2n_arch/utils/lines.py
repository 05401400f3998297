"""JSON Lines files: one process appends while others read; a crash may leave the last line incomplete."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from metaf2n_arch.utils.checks import DataError, make_folder


def read_lines(path: Path, start: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (byte offset behind the line, object) for each line of a file from byte `start` on.

    Incomplete lines are skipped. A missing file yields nothing.
    """
    try:
        file = path.open('rb')
    except FileNotFoundError:
        return
    with file:
        file.seek(start)
        for line in file:
            if not line.endswith(b'\n'):
                return
            start += len(line)
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                yield start, entry


class LineWriter:
    """Appends objects to a file, one line each, without a buffer: nothing is lost if the program is killed.

    Args:
        path: the file. The first object creates it, and its folder.
        fresh: whether a former file is overwritten.

    Raises:
        DataError: the file cannot be written.
    """

    def __init__(self, path: Path, fresh: bool = False) -> None:
        self.path = path
        self._mode = 'wb' if fresh else 'ab'
        self._file: Any = None

    def add(self, entry: Mapping[str, Any]) -> None:
        """Appends one object, which JSON must be able to hold."""
        try:
            line = json.dumps(entry, ensure_ascii=False).encode() + b'\n'
        except UnicodeEncodeError:  # a file name that is not valid UTF-8
            line = json.dumps(entry).encode() + b'\n'
        try:
            if self._file is None:
                make_folder(self.path.parent)
                self._file = self.path.open(self._mode, buffering=0)
                if self._file.tell():  # after a crash: end the incomplete line first
                    line = self._newline() + line
            self._file.write(line)
        except OSError as error:
            raise DataError(f'{self.path} cannot be written: {error.strerror or error}.') from None

    def _newline(self) -> bytes:
        with self.path.open('rb') as file:
            file.seek(-1, 2)
            return b'' if file.read(1) == b'\n' else b'\n'

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
