"""What the web page keeps, and for how long: one folder for everything, gone at every end, swept after a kill -9."""

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
"""Seconds for which an upload or a result is kept that nobody clears."""
_NEW = 2.0  # seconds in which a folder may not be locked yet


@contextlib.contextmanager
def place_for_files() -> Iterator[Path]:
    """A new folder, of this user alone, in which everything of this process lies that would lie in a temporary folder.

    It is removed at the end, whatever ends the block; what was left by processes that were killed is removed before. A
    lock, which the system takes back when a process dies, tells whose folder is still in use.
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
        for _ in range(20):  # a photo in work may still write
            shutil.rmtree(place, ignore_errors=True)
            if not place.exists():
                break
            time.sleep(0.1)


def sweep(folder: Path) -> None:
    """Removes what `place_for_files` of processes that live no more has left in `folder`."""
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
    """Bytes of all files below a folder."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def forget_old(folder: Path, age: float = KEPT) -> None:
    """Removes files below a folder that are older than `age` seconds, the lock excepted."""
    oldest = time.time() - age
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            with contextlib.suppress(OSError):
                if name != LOCK and os.lstat(path).st_mtime < oldest:
                    os.unlink(path)


class Sessions:
    """The upload and the results of each visitor, by the key of the visit; one of each at a time.

    Args:
        place: folder for all; results lie in `shown` below it, and nothing else does.
    """

    def __init__(self, place: Path) -> None:
        self.shown, self._photos = place / 'shown', place / 'photos'
        self._names: dict[str, str] = {}  # names of folders that nobody can guess
        self._lock = threading.Lock()

    def take(self, visit: str, upload: str | Path) -> None:
        """Moves an upload to the visit's own place; what was there before is gone."""
        self.forget(visit)
        folder = self._photos / self._name(visit)
        folder.mkdir(parents=True)
        os.replace(upload, folder / Path(upload).name)

    def upload(self, visit: str) -> Path | None:
        """The upload of this visit; None if there is none, or no more."""
        return next((self._photos / self._name(visit)).glob('*'), None)

    def results(self, visit: str) -> Path:
        """An empty folder for results; those before are gone."""
        folder = self.shown / self._name(visit)
        shutil.rmtree(folder, ignore_errors=True)
        fresh = folder / secrets.token_hex(8)  # another address, so that no browser shows what it had before
        fresh.mkdir(parents=True)
        return fresh

    def forget(self, visit: str) -> None:
        """Removes everything of a visit."""
        with self._lock:
            name = self._names.pop(visit, None)
        for root in (self.shown, self._photos) if name is not None else ():
            shutil.rmtree(root / str(name), ignore_errors=True)

    def settle(self, visit: str, results: Path) -> None:
        """Removes results that came when their visit had ended, or had asked for others."""
        with self._lock:
            current = self._names.get(visit)
        if current != results.parent.name:
            shutil.rmtree(results.parent, ignore_errors=True)

    def _name(self, visit: str) -> str:
        with self._lock:
            return self._names.setdefault(visit, secrets.token_hex(16))
