"""Lock on the folder of a run: one writer at a time; a second one ends with a message that names the first.

The lock is a file beside the folder, ``.<name>.lock``, so that it stays there when the folder is renamed. It holds the
machine, process number and start time of the writer. Three things show whether the writer still runs:

- the system's lock on that file (`fcntl.lockf`), which ends with the process, on most network drives also across
  machines;
- on the same machine, if there are no such locks, the process number and start time;
- on another machine, the modification time of the file, which a running writer renews every few seconds.

So ``--auto_resume`` is not blocked by the lock of a killed process, of a machine that was switched off, or of a job
that a scheduler moved to another machine.
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
except ImportError:  # Windows: process numbers and the modification time decide
    fcntl = None  # type: ignore[assignment]  # `_system_lock` checks it

RENEWAL = 5.0
"""Seconds between two renewals of the modification time."""
PATIENCE = 75.0
"""Seconds without a renewal after which a writer on another machine counts as gone; NFS shows times up to 60 s late."""


@dataclass(frozen=True)
class Writer:
    """The process that holds a lock.

    Attributes:
        host, boot, pid, started: the process; see `run.identity`.
        since: date and time of the lock, for messages.
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
        """Whether it is or was a process of this machine since the machine's last start."""
        return (self.host, self.boot) == (identity.host(), identity.boot())

    def runs_here(self) -> bool:
        """Whether it is a process of this machine and still runs."""
        return self.is_here() and identity.started(self.pid) == self.started


class FolderLock:
    """The lock on one folder, held from `acquire` to `release` or the end of the process.

    Args:
        folder: folder to lock; need not exist.
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
            tell: gets a line if the lock of a dead writer is taken over, or if the check takes time.

        Raises:
            DataError: another run writes there; the message names its process.
        """
        self._made_parent = not self.path.parent.exists()
        make_folder(self.path.parent)
        while (descriptor := self._open()) is not None:
            before = self._claim(descriptor, tell)
            if self._is_at_path(descriptor):
                break
            os.close(descriptor)  # the holder removed the file after it was opened here and before it was locked
        _write(descriptor, Writer.this())
        self._descriptor, self._pid = descriptor, os.getpid()
        self._end.clear()
        threading.Thread(target=self._renew, name='lock of the run', daemon=True).start()
        if before is not None:
            tell(f'{self.folder}: took over the lock of a run that has ended ({before}).')

    def _claim(self, descriptor: int, tell: Callable[[str], Any]) -> Writer | None:
        """Takes the system's lock and checks that no writer runs without one; returns the ended writer, if any."""
        try:
            held = _system_lock(descriptor)
            before = _read(descriptor)
            if held is False or (before is not None and self._still_writes(before, held, tell)):
                who = f'another run ({before})' if before is not None else 'another run'
                raise DataError(
                    f'{self.folder}: {who} writes there; wait until it ends, stop it, or give this run another name.'
                )
        except BaseException:
            os.close(descriptor)
            raise
        return before

    def release(self) -> None:
        """Removes the lock file, and the folder that was made for it if it is empty."""
        if self._descriptor is None or self._pid != os.getpid():  # a fork does not hold the lock
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
            raise DataError(f'{self.path}: cannot be written ({error.strerror}); permit writing there.') from None

    def _is_at_path(self, descriptor: int) -> bool:
        try:
            here, there = os.fstat(descriptor), os.stat(self.path)
        except OSError:
            return False
        return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)

    def _still_writes(self, writer: Writer, held: bool | None, tell: Callable[[str], Any]) -> bool:
        """Whether the recorded writer still runs; `held` says whether this process now has the system's lock."""
        if writer.is_here():
            return held is None and writer.runs_here()
        tell(f'{self.folder}: {writer} has written there; waiting {PATIENCE:g} s to see whether it still does.')
        return self._is_renewed()

    def _is_renewed(self) -> bool:
        """Whether the modification time changes during the wait; clocks of machines differ, so its age says nothing."""
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
            with contextlib.suppress(OSError):  # a network drive may be away for a moment, or the folder removed
                os.utime(self.path)


def _system_lock(descriptor: int) -> bool | None:
    """Tries the system's lock: True if this process has it now, False if another has it, None without such locks."""
    if fcntl is None:
        return None
    try:
        # Not flock: data-loader workers would inherit it and keep it after their parent's end.
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
        return None  # empty: the file is new, or its writer was killed before it wrote


def _write(descriptor: int, writer: Writer) -> None:
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.truncate(descriptor, 0)
    os.write(descriptor, json.dumps(asdict(writer)).encode())


_held: dict[Path, FolderLock] = {}


def lock_folder(folder: Path) -> None:
    """Locks a folder for this process until `release_folders`; a second call does nothing.

    Raises:
        DataError: another run writes there.
    """
    lock = FolderLock(folder)
    if lock.path not in _held:
        lock.acquire()
        _held[lock.path] = lock


def release_folders() -> None:
    """Releases all folders that this process has locked."""
    while _held:
        _held.popitem()[1].release()


atexit.register(release_folders)
