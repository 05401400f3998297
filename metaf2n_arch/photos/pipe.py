"""Pipe of strips from the thread that computes them to the thread that writes them, with a bounded queue."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import numpy as np


class Aborted(Exception):
    """Raised to the reader of a `Pipe` when the strips end before the picture is complete."""


class Pipe:
    """A queue of strips, filled by one thread and read by another.

    Args:
        waiting: most strips in the queue; `put` waits while it is full.
    """

    def __init__(self, waiting: int = 4) -> None:
        self._strips: queue.Queue[np.ndarray | Aborted | None] = queue.Queue(waiting)
        self._gone = threading.Event()

    def put(self, strip: np.ndarray) -> bool:
        """Adds a strip; False if the reader has left."""
        return self._put(strip)

    def close(self) -> None:
        """Tells the reader that the picture is complete."""
        self._put(None)

    def abort(self) -> None:
        """Tells the reader that no more strips come: it raises `Aborted`."""
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
        """Tells the writer that the reader has left."""
        self._gone.set()
