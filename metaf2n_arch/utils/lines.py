"""Files of JSON lines that grow while others read them, and whose last line a crash may have torn."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from metaf2n_arch.utils.checks import DataError, make_folder


def read_lines(path: Path, start: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the objects of a file from byte `start` on, each with the byte behind it; torn lines are left out."""
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
    """Adds objects to a file, each at once: what is written is whole whenever the program is stopped.

    Args:
        path: the file; made, with its folder, by the first object, and begun anew if `fresh`.

    Raises:
        DataError: it cannot be written.
    """

    def __init__(self, path: Path, fresh: bool = False) -> None:
        self.path = path
        self._mode = 'wb' if fresh else 'ab'
        self._file: Any = None

    def add(self, entry: Mapping[str, Any]) -> None:
        line = json.dumps(entry, ensure_ascii=False).encode('utf-8', 'surrogateescape') + b'\n'
        try:
            if self._file is None:
                make_folder(self.path.parent)
                self._file = self.path.open(self._mode, buffering=0)
                if self._file.tell():  # what a crash has torn ends here
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
