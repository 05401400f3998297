"""Journal of a preparation: what an earlier run has finished, so that the next one goes on where it stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.utils.files import write_whole
from metaf2n_arch.utils.lines import LineWriter, read_lines


class Journal:
    """A file of JSON lines in the folder that is being filled: the settings, then one line per finished image.

    An image is finished if its line is there, its source is the same file as then, and every file made of it exists.
    A torn last line, left by a crash, is dropped.

    Args:
        folder: the folder that is being filled; need not exist.
        command: name of the preparation, so that several may fill one folder.
        settings: everything the files depend on besides the source image.

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
        """What was made of a finished image."""
        return self.entries[image]['files']

    def facts(self) -> dict[str, Any]:
        """What is known of each image whose files are all there, sorted by name."""
        return {name: entry.get('facts') for name, entry in sorted(self.entries.items()) if self._is_whole(entry)}

    def add(self, image: str, source: Path, files: list[str], facts: Any = None) -> None:
        """Records an image whose files are all in place; `facts`, fit for JSON, is what else is to be known of it."""
        entry = {'image': image, 'stamp': stamp(source), 'files': files}
        entry |= {} if facts is None else {'facts': facts}
        self.entries[image] = entry
        if self._lines is None:
            self._rewrite()
            self._lines = LineWriter(self.path)
        else:
            self._lines.add(entry)

    def _rewrite(self) -> None:
        """Writes what is known anew, whole lines only, before lines are added."""
        lines = [{'settings': self.settings}, *self.entries.values()]
        write_whole(self.path, ''.join(json.dumps(line, ensure_ascii=False) + '\n' for line in lines))

    def close(self) -> None:
        if self._lines is not None:
            self._lines.close()
            self._lines = None


def stamp(source: Path) -> list[int]:
    """Returns what changes when a file is replaced: its length and time."""
    status = source.stat()
    return [status.st_size, status.st_mtime_ns]
