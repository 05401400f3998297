"""Journal of a preparation: the images that are finished, so that the next run continues where the last one stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.utils.files import write_whole
from metaf2n_arch.utils.lines import LineWriter, read_lines


class Journal:
    """A JSON Lines file in the folder of the results: the settings, then one line per finished image.

    An image is finished if it has a line, its source file has not changed since, and every file made from it exists. An
    incomplete last line, left by a crash, is dropped.

    Args:
        folder: folder of the results; need not exist.
        command: name of the preparation; several preparations may use one folder.
        settings: all settings that the results depend on.

    Raises:
        DataError: the folder was filled with other settings.
    """

    def __init__(self, folder: Path, command: str, settings: dict[str, Any]) -> None:
        self.folder = folder
        self.path = folder / f'.{command}.jsonl'
        self.settings = json.loads(json.dumps(settings))
        self.entries: dict[str, dict[str, Any]] = {}
        self._lines: LineWriter | None = None
        if self.path.is_file():
            self._read()

    def _read(self) -> None:
        first: dict[str, Any] | None = None
        for _, entry in read_lines(self.path):
            if first is None:
                first = entry.get('settings')
            elif {'image', 'stamp', 'files'} <= entry.keys():
                self.entries[entry['image']] = entry
        if self.entries and first != self.settings:
            differs = [key for key in self.settings if (first or {}).get(key) != self.settings[key]]
            shown = ', '.join(f'{key} {(first or {}).get(key)!r}, now {self.settings[key]!r}' for key in differs)
            raise DataError(f'{self.folder} was filled with other settings ({shown}); give another folder.')

    def holds(self, image: str, source: Path) -> bool:
        """Whether `image` is finished."""
        entry = self.entries.get(image)
        return entry is not None and entry['stamp'] == stamp(source) and self._is_whole(entry)

    def _is_whole(self, entry: dict[str, Any]) -> bool:
        return all((self.folder / file).is_file() for file in entry['files'])

    def files(self, image: str) -> list[str]:
        """Returns the files made from a finished image."""
        return self.entries[image]['files']

    def facts(self) -> dict[str, Any]:
        """Returns name -> facts of each image whose files all exist, sorted by name."""
        return {name: entry.get('facts') for name, entry in sorted(self.entries.items()) if self._is_whole(entry)}

    def add(self, image: str, source: Path, files: list[str], facts: Any = None) -> None:
        """Records an image whose files are all written; `facts` are further values that JSON can hold."""
        entry = {'image': image, 'stamp': stamp(source), 'files': files}
        entry |= {} if facts is None else {'facts': facts}
        self.entries[image] = entry
        if self._lines is None:
            self._rewrite()
            self._lines = LineWriter(self.path)
        else:
            self._lines.add(entry)

    def _rewrite(self) -> None:
        """Writes the journal again without incomplete lines, before lines are appended."""
        lines = [{'settings': self.settings}, *self.entries.values()]
        write_whole(self.path, ''.join(json.dumps(line, ensure_ascii=False) + '\n' for line in lines))

    def close(self) -> None:
        if self._lines is not None:
            self._lines.close()
            self._lines = None


def stamp(source: Path) -> list[int]:
    """Returns length and modification time of a file, to see later whether it has changed."""
    status = source.stat()
    return [status.st_size, status.st_mtime_ns]
