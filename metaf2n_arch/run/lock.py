"""The lock on the folder of a run: one writer at a time, and a second one is told who the first is.

The lock is a file beside the folder, ``.<name>.lock``, so that it stays where it is when the folder is moved away. It
holds host, process and start time of the writer. Three things tell whether the writer still runs:

- the system's own lock on that file (`fcntl.lockf`), which ends with the process, also across machines on most network
  drives;
- on the same machine, the process's number together with its start, where the system has no such locks;
- on another machine, the time of the file, which a living writer renews every few seconds.

So a lock left by a killed process, by a machine that was switched off or by a job that a scheduler has moved elsewhere
does not stand in the way of ``--auto_resume``.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from metaf2n_arch.run import identity
from metaf2n_arch.utils.checks import DataError, make_folder

try:
    import fcntl
except ImportError:  # Windows: process numbers and the time of the file decide there
    fcntl = None  # type: ignore[assignment]  # asked for below

RENEWAL = 5.0
"""Seconds between two renewals of the file's time."""
PATIENCE = 75.0
"""Seconds without a renewal after which a writer on another machine counts as gone; NFS shows times up to 60 s late."""


@dataclass(frozen=True)
class Writer:
    """Who writes.

    Attributes:
        host, boot, pid, started: the process; see `run.identity`.
        since: date and time of the lock, for people.
    """

    host: str
    boot: str
    pid: int
    started: str
    since: str

    @classmethod
    def this(cls) -> Writer:
        pid = os.getpid()
        now = time.strftime('%Y-%m-%d %H:%M:%S')
        return cls(identity.host(), identity.boot(), pid, identity.started(pid) or '', now)

    def __str__(self) -> str:
        return f'process {self.pid} on {self.host}, since {self.since}'

    def is_here(self) -> bool:
        """Whether it is, or was, a process of this machine since it was last started."""
        return (self.host, self.boot) == (identity.host(), identity.boot())

    def runs_here(self) -> bool:
        """Whether it is a process of this machine that still runs."""
        return self.is_here() and identity.started(self.pid) == self.started


class FolderLock:
    """The lock on one folder, held from `acquire` to `release` or the end of the process.

    Args:
        folder: what is locked; need not exist.
    """

    def __init__(self, folder: Path) -> None:
        folder = Path(os.path.abspath(folder))
        self.folder = folder
        self.path = folder.with_name(f'.{folder.name}.lock')
        self._made_parent = False
        self._descriptor: int | None = None
        self._pid = 0
        self._end = threading.Event()

    def acquire(self, tell: Callable[[str], Any] = print) -> None:
        """Takes the lock.

        Args:
            tell: gets a line where a lock of a dead writer is taken over, or where it takes time to find out.

        Raises:
            DataError: somebody else writes there; the line names the process.
        """
        self._made_parent = not self.path.parent.exists()
        make_folder(self.path.parent)
        while (descriptor := self._open()) is not None:
            before = self._claim(descriptor, tell)
            if self._is_at_path(descriptor):
                break
            os.close(descriptor)  # its holder removed it between our opening and our locking
        _write(descriptor, Writer.this())
        self._descriptor, self._pid = descriptor, os.getpid()
        self._end.clear()
        threading.Thread(target=self._renew, name='lock of the run', daemon=True).start()
        if before is not None:
            tell(f'{self.folder}: took over the lock of a run that has ended ({before}).')

    def _claim(self, descriptor: int, tell: Callable[[str], Any]) -> Writer | None:
        """Takes the system's lock, makes sure that nobody writes without one; returns the writer that is no more."""
        try:
            held = _system_lock(descriptor)
            before = _read(descriptor)
            if held is False or (before is not None and self._still_writes(before, held, tell)):
                who = f'another run ({before})' if before is not None else 'another run'
                raise DataError(
                    f'{self.folder}: {who} writes there; wait for its end, stop it, or give this run another name.'
                )
        except BaseException:
            os.close(descriptor)
            raise
        return before

    def release(self) -> None:
        """Removes the lock, and the folder made for it if nothing else came into it."""
        if self._descriptor is None or self._pid != os.getpid():  # a fork of the holder has nothing to release
            return
        self._end.set()
        if self._is_at_path(self._descriptor):
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = None
        if self._made_parent:
            with contextlib.suppress(OSError):  # it is not empty
                self.path.parent.rmdir()

    def _open(self) -> int:
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise DataError(f'{self.path}: cannot be written ({error.strerror}); give access there.') from None

    def _is_at_path(self, descriptor: int) -> bool:
        try:
            here, there = os.fstat(descriptor), os.stat(self.path)
        except OSError:
            return False
        return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)

    def _still_writes(self, writer: Writer, held: bool | None, tell: Callable[[str], Any]) -> bool:
        """Whether the writer whose record is there still runs; `held`: this process now has the system's lock."""
        if writer.is_here():
            return held is None and writer.runs_here()
        tell(f'{self.folder}: {writer} has written there; looking for {PATIENCE:g} s whether it still does.')
        return self._is_renewed()

    def _is_renewed(self) -> bool:
        """Whether the file's time moves while we look; clocks of machines differ, so that its age says nothing."""
        first = os.stat(self.path).st_mtime_ns
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            time.sleep(min(0.2, RENEWAL))
            try:
                if os.stat(self.path).st_mtime_ns != first:
                    return True
            except OSError:
                return False
        return False

    def _renew(self) -> None:
        while not self._end.wait(RENEWAL):
            with contextlib.suppress(OSError):  # the network drive is away for a moment, or the folder is gone
                os.utime(self.path)


def _system_lock(descriptor: int) -> bool | None:
    """Tries for the system's lock: True if this process has it now, False if another has; None without such locks."""
    if fcntl is None:
        return None
    try:
        # Not flock, which data-loader workers would inherit and hold beyond their parent's end.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    return True


def _read(descriptor: int) -> Writer | None:
    text = os.pread(descriptor, 4096, 0) if hasattr(os, 'pread') else os.read(descriptor, 4096)
    try:
        content: dict[str, Any] = json.loads(text)
        return Writer(**content)
    except (ValueError, TypeError):
        return None  # empty: just made, or its writer was killed before the first word


def _write(descriptor: int, writer: Writer) -> None:
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.truncate(descriptor, 0)
    os.write(descriptor, json.dumps(asdict(writer)).encode())


_held: dict[Path, FolderLock] = {}


def lock_folder(folder: Path) -> None:
    """Locks a folder for this process, once, until `release_folders`.

    Raises:
        DataError: somebody else writes there.
    """
    lock = FolderLock(folder)
    if lock.path not in _held:
        lock.acquire()
        _held[lock.path] = lock


def release_folders() -> None:
    """Releases all that this process has locked."""
    while _held:
        _held.popitem()[1].release()


atexit.register(release_folders)
