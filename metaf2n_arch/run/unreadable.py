"""List of images that could not be read and were skipped: ``unreadable.txt`` in the experiment's folder.

Data-loader workers find them in processes of their own, so they share the list through the file.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

logger = logging.getLogger('basicsr')
NAME = 'unreadable.txt'


class Unreadable:
    """The list of one run, one line per image: its name and what is wrong with it.

    Args:
        folder: folder of the experiment.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._known: set[str] = set()
        self._told = 0
        self._last = ''

    def __str__(self) -> str:
        return self._last

    def add(self, line: str) -> None:
        """Adds a line, unless this process has already added it."""
        self._last = ' '.join(line.split())
        if self._last not in self._known:
            self._known.add(self._last)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # A single write in append mode, so that lines of several processes do not mix.
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            os.write(descriptor, f'{self._last}\n'.encode())
            os.close(descriptor)

    def lines(self) -> list[str]:
        """All lines of all processes, without duplicates."""
        if not self.path.exists():
            return []
        return list(dict.fromkeys(self.path.read_text(encoding='utf-8').splitlines()))

    def tell(self) -> None:
        """Logs the number of skipped images, if it has grown since the last call."""
        found = self.lines()
        if len(found) > self._told:
            self._told = len(found)
            images = '1 image' if len(found) == 1 else f'{len(found)} images'
            logger.warning(f'{images} could not be read so far and are skipped; {self.path} lists them.')
