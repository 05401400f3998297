"""Strips on their way from the thread that computes them to the thread that writes them; few wait at a time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import numpy as np


class Aborted(Exception):
    """The strips end before the picture does."""


class Pipe:
    """Filled by one thread, read by another."""

    def __init__(self, waiting: int = 4) -> None:
        self._strips: queue.Queue[np.ndarray | Aborted | None] = queue.Queue(waiting)
        self._gone = threading.Event()

    def put(self, strip: np.ndarray) -> bool:
        """Hands a strip over; False if nobody reads any more."""
        return self._put(strip)

    def close(self) -> None:
        """The picture is complete."""
        self._put(None)

    def abort(self) -> None:
        """The picture will not be complete: the reader gets `Aborted`."""
        self._put(Aborted())

    def _put(self, item: np.ndarray | Aborted | None) -> bool:
        while not self._gone.is_set():
            try:
                self._strips.put(item, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def __iter__(self) -> Iterator[np.ndarray]:
        try:
            while (item := self._strips.get()) is not None:
                if isinstance(item, Aborted):
                    raise item
                yield item
        finally:
            self.leave()

    def leave(self) -> None:
        """Nobody reads any more."""
        self._gone.set()
