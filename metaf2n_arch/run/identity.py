"""Processes as the system knows them: who one is beyond its number, which is used again, and whether it still runs."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def host() -> str:
    """The name of this machine."""
    return socket.gethostname()


def boot() -> str:
    """What differs each time the machine is started; empty where the system does not say."""
    try:
        return Path('/proc/sys/kernel/random/boot_id').read_text().strip()
    except OSError:
        return ''


def started(pid: int) -> str | None:
    """When a process was started, in ticks since the machine was; None if there is no such process.

    Empty where the system does not say (outside Linux), so that its number alone counts.
    """
    try:
        # After the name, which is in brackets and may hold anything; the state comes first, a zombie's is Z.
        fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    except OSError:
        return '' if not Path('/proc/self').exists() and _answers(pid) else None
    return None if fields[0] in 'ZX' else fields[19]


def _answers(pid: int) -> bool:
    if os.name == 'nt':  # os.kill would end it there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
