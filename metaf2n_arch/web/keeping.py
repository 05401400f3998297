"""Files of the web page: one temporary folder for all, deleted at every end; after ``kill -9``, at the next start."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

PREFIX = 'metaf2n_web_'
LOCK = 'in_use.lock'
KEPT = 3600.0
"""Seconds for which an upload or a result is kept, unless it is cleared before."""
_NEW = 2.0  # seconds after which a new folder is certainly locked, if its process is alive


@contextlib.contextmanager
def place_for_files() -> Iterator[Path]:
    """A new folder, readable by this user only, which also becomes the folder for all temporary files of this process.

    It is deleted when the block ends, also by an error. Folders of processes that were killed are deleted first: their
    locks are free, because the system releases the locks of a process that dies.
    """
    outside = tempfile.gettempdir()
    sweep(Path(outside))
    place = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = FileLock(place / LOCK)
    lock.acquire()
    before, tempfile.tempdir = tempfile.tempdir, str(place)
    try:
        yield place
    finally:
        tempfile.tempdir = before
        lock.release()
        for _ in range(20):  # a thread that still restores a photo may write meanwhile
            shutil.rmtree(place, ignore_errors=True)
            if not place.exists():
                break
            time.sleep(0.1)


def sweep(folder: Path) -> None:
    """Deletes the folders in `folder` that `place_for_files` of dead processes has left."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.name.startswith(PREFIX) and _is_left_behind(entry):
                    shutil.rmtree(entry.path, ignore_errors=True)


def _is_left_behind(entry: os.DirEntry[str]) -> bool:
    status = entry.stat(follow_symlinks=False)
    mine = not hasattr(os, 'getuid') or status.st_uid == os.getuid()
    if not entry.is_dir(follow_symlinks=False) or not mine or time.time() - status.st_mtime < _NEW:
        return False
    lock = FileLock(Path(entry.path) / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    lock.release()
    return True


def size_of(folder: Path) -> int:
    """Size of all files below a folder, in bytes."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def forget_old(folder: Path, age: float = KEPT) -> None:
    """Deletes files below a folder that are older than `age` seconds, except the lock."""
    oldest = time.time() - age
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            with contextlib.suppress(OSError):
                if name != LOCK and os.lstat(path).st_mtime < oldest:
                    os.unlink(path)


class Sessions:
    """The upload and the results of each session of the page; each session keeps only its latest.

    Args:
        place: folder for all. Results, and nothing else, are in its folder ``shown``.
    """

    def __init__(self, place: Path) -> None:
        self.shown, self._photos = place / 'shown', place / 'photos'
        self._names: dict[str, str] = {}  # session -> name of its folders, random, so that nobody can guess it
        self._lock = threading.Lock()

    def take(self, visit: str, upload: str | Path) -> None:
        """Moves an upload into the folder of its session, and deletes the earlier files of the session."""
        self.forget(visit)
        folder = self._photos / self._name(visit)
        folder.mkdir(parents=True)
        os.replace(upload, folder / Path(upload).name)

    def upload(self, visit: str) -> Path | None:
        """The upload of a session; None if there is none, or if it was deleted."""
        return next((self._photos / self._name(visit)).glob('*'), None)

    def results(self, visit: str) -> Path:
        """A new empty folder for the results of a session; earlier results are deleted."""
        folder = self.shown / self._name(visit)
        shutil.rmtree(folder, ignore_errors=True)
        fresh = folder / secrets.token_hex(8)  # a new address, so that browsers show no cached picture
        fresh.mkdir(parents=True)
        return fresh

    def forget(self, visit: str) -> None:
        """Deletes all files of a session."""
        with self._lock:
            name = self._names.pop(visit, None)
        for root in (self.shown, self._photos) if name is not None else ():
            shutil.rmtree(root / str(name), ignore_errors=True)

    def settle(self, visit: str, results: Path) -> None:
        """Deletes results that were finished after their session had ended or was cleared."""
        with self._lock:
            current = self._names.get(visit)
        if current != results.parent.name:
            shutil.rmtree(results.parent, ignore_errors=True)

    def _name(self, visit: str) -> str:
        with self._lock:
            return self._names.setdefault(visit, secrets.token_hex(16))
