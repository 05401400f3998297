"""Processes that share a folder: who this one is, whether another is alive, and things that only one of them takes."""

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
"""Seconds without a sign of life after which a claim of another machine's process counts as left behind."""

_WRITING = 10.0  # seconds in which a claim may still be empty


@cache
def host() -> str:
    """Name of this machine."""
    return socket.gethostname()


def start_of(process: int) -> str:
    """When a process was started, as the system counts it; tells it from a later one of the same number."""
    try:
        return Path(f'/proc/{process}/stat').read_text().rpartition(')')[2].split()[19]
    except (OSError, IndexError):
        return ''


def identity() -> dict[str, Any]:
    """Machine, number and start of this process."""
    return {'host': host(), 'process': os.getpid(), 'start': start_of(os.getpid())}


def is_running(process: int, start: str) -> bool:
    """Whether that process of this machine runs still."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it runs for somebody else
        pass
    return start_of(process) == start


class Claims:
    """Things of one folder, each taken by one process at a time.

    A claim is a file that only one can create. It says whose it is: what a dead process has left is taken over; that
    of another machine where it gave no sign of life for `STALE` seconds.

    Args:
        folder: for the claims; made with the first.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mine = json.dumps({**identity(), 'claims': secrets.token_hex(4)})
        self._refreshed: dict[str, float] = {}

    def take(self, name: str) -> bool:
        """Takes `name`, a file name; False if another has it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / name
        if not self._create(path) and not self._take_over(path):
            return False
        self._refreshed[name] = time.monotonic()
        return True

    def refresh(self, name: str) -> None:
        """Gives a sign of life, at most once a minute."""
        if time.monotonic() - self._refreshed.get(name, 0.0) > 60:
            self._refreshed[name] = time.monotonic()
            with contextlib.suppress(OSError):
                os.utime(self.folder / name)

    def release(self, name: str) -> None:
        """Gives `name` back."""
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
        """Replaces the claim of a dead process; one process at a time, so that no living claim is ever replaced."""
        if _is_alive(path):
            return False
        from filelock import FileLock

        with FileLock(self.folder.with_name(f'{self.folder.name}.lock')):
            if _is_alive(path):  # another was quicker
                return False
            write_whole(path, self._mine.encode())
            return True


def _is_alive(path: Path) -> bool:
    """Whether the holder of a claim is at work; a claim that was given back meanwhile is left to the next look."""
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
