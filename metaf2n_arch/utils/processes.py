"""Claims of processes that share a folder: each item is taken by one process at a time."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import time
from functools import cache
from pathlib import Path
from typing import Any

from metaf2n_arch.utils.files import write_whole

STALE = 900.0
"""Seconds without a refresh after which the claim of a process on another machine counts as abandoned."""

_WRITING = 10.0  # seconds during which a new claim may still be empty


@cache
def host() -> str:
    """Name of this machine."""
    return socket.gethostname()


def start_of(process: int) -> str:
    """Start time of a process in the system's clock ticks since boot; empty if it is unknown.

    It tells the process from a later one with the same number.
    """
    try:
        return Path(f'/proc/{process}/stat').read_text().rpartition(')')[2].split()[19]
    except (OSError, IndexError):
        return ''


def identity() -> dict[str, Any]:
    """Machine, number and start time of this process."""
    return {'host': host(), 'process': os.getpid(), 'start': start_of(os.getpid())}


def is_running(process: int, start: str) -> bool:
    """Whether that process of this machine still runs."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to another user
        pass
    return start_of(process) == start


class Claims:
    """Claims on items: each item is taken by one process at a time.

    A claim is a file that only one process can create. It names the process. The claim of a dead process is taken
    over; that of a process on another machine after `STALE` seconds without a refresh.

    Args:
        folder: folder of the claims; the first claim makes it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mine = json.dumps({**identity(), 'claims': secrets.token_hex(4)})
        self._refreshed: dict[str, float] = {}

    def take(self, name: str) -> bool:
        """Takes the item `name`, which must be a valid file name; returns False if another process has it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / name
        if not self._create(path) and not self._take_over(path):
            return False
        self._refreshed[name] = time.monotonic()
        return True

    def refresh(self, name: str) -> None:
        """Renews the time stamp of a claim, at most once a minute."""
        if time.monotonic() - self._refreshed.get(name, 0.0) > 60:
            self._refreshed[name] = time.monotonic()
            with contextlib.suppress(OSError):
                os.utime(self.folder / name)

    def release(self, name: str) -> None:
        """Removes the claim on `name`."""
        self._refreshed.pop(name, None)
        with contextlib.suppress(OSError):
            (self.folder / name).unlink()

    def _create(self, path: Path) -> bool:
        try:
            with path.open('x', encoding='utf-8') as file:
                file.write(self._mine)
        except FileExistsError:
            return False
        return True

    def _take_over(self, path: Path) -> bool:
        """Replaces the claim of a dead process, under a lock, so that the claim of a living one is never replaced."""
        if _is_alive(path):
            return False
        from filelock import FileLock

        with FileLock(self.folder.with_name(f'{self.folder.name}.lock')):
            if _is_alive(path):  # another process was faster
                return False
            write_whole(path, self._mine.encode())
            return True


def _is_alive(path: Path) -> bool:
    """Whether the process that holds a claim still works; True also if the claim was released in the meantime."""
    try:
        holder = path.read_text(encoding='utf-8')
        silent = time.time() - path.stat().st_mtime
    except OSError:
        return True
    try:
        who = json.loads(holder)
        if who['host'] == host():
            return is_running(int(who['process']), who['start'])
    except (ValueError, KeyError, TypeError):
        return silent < _WRITING
    return silent < STALE
