"""Identity of a process: machine, number and start time, because the system uses numbers again; whether it runs."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def host() -> str:
    """The name of this machine."""
    return socket.gethostname()


def boot() -> str:
    """Returns an identifier that changes at each start of the machine; empty where the system has none."""
    try:
        return Path('/proc/sys/kernel/random/boot_id').read_text().strip()
    except OSError:
        return ''


def started(pid: int) -> str | None:
    """Returns the start time of a process in clock ticks since boot; None if there is no such process.

    Empty where the system does not report it (outside Linux); then only the process number is compared.
    """
    try:
        # The fields after the name, which is in brackets and may hold any character. First the state: Z is a zombie.
        fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    except OSError:
        return '' if not Path('/proc/self').exists() and _answers(pid) else None
    return None if fields[0] in 'ZX' else fields[19]


def _answers(pid: int) -> bool:
    if os.name == 'nt':  # os.kill would end the process there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
