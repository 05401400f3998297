"""Devices of this machine: cores, memory, and the GPUs that PyTorch can use.

Importing PyTorch takes seconds. So a child process (`python -m metaf2n_arch.doctor.machine`) does it, while the doctor
prints the lines that need no PyTorch.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
from typing import Any

PATIENCE = 120.0
"""Longest time in seconds that a child process may take."""


def system() -> str:
    """One line: versions of Python and system, number of cores that this process may use, memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    parts = [f'Python {platform.python_version()}', f'{platform.system()} {platform.machine()}', f'{cores} CPU cores']
    with contextlib.suppress(AttributeError, ValueError, OSError):  # Windows
        parts.append(f'{os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30:.0f} GiB memory')
    return ', '.join(parts)


def begin(*module: str) -> subprocess.Popen[str]:
    """Starts ``python -m`` with these arguments; `result` waits for it."""
    return subprocess.Popen(
        [sys.executable, '-m', *module],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )


def result(child: subprocess.Popen[str]) -> tuple[bool, list[str]]:
    """Waits for a child. Returns whether it succeeded, and the lines that it printed or the last line of its errors."""
    try:
        out, errors = child.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        return False, [f'no answer within {PATIENCE:.0f} seconds']
    if child.returncode:
        return False, (errors.strip().splitlines() or [f'ended with exit code {child.returncode}'])[-1:]
    return True, out.strip().splitlines()


def devices(seen: dict[str, Any]) -> list[str]:
    """Lines of the screen about the devices that `look` has found.

    >>> devices({'threads': 2, 'built': None, 'gpus': []})
    ['cpu (2 threads); this torch is built for CPUs only']
    """
    cpu = f'cpu ({seen["threads"]} thread{"" if seen["threads"] == 1 else "s"})'
    if seen['gpus']:
        return [*seen['gpus'], cpu]
    if seen['built'] is None:
        return [f'{cpu}; this torch is built for CPUs only']
    return [f'{cpu}; no GPU found (this torch is built for {seen["built"]})']


def look() -> dict[str, Any]:
    """What PyTorch reports: threads, the GPU software it is built for (CUDA, ROCm or None), and a line for each GPU."""
    import torch

    built = (
        f'CUDA {torch.version.cuda}'
        if torch.version.cuda
        else f'ROCm {torch.version.hip}'
        if torch.version.hip
        else None
    )
    gpus = []
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        found = torch.cuda.get_device_properties(number)
        gpus.append(f'cuda:{number} {found.name}, {found.total_memory / 2**30:.0f} GiB ({built})')
    if getattr(torch.backends, 'mps', None) is not None and torch.backends.mps.is_available():
        gpus.append('mps (Apple GPU)')
    if hasattr(torch, 'xpu') and torch.xpu.is_available():
        gpus += [f'xpu:{number} {torch.xpu.get_device_name(number)}' for number in range(torch.xpu.device_count())]
    return {'threads': torch.get_num_threads(), 'built': built, 'gpus': gpus}


if __name__ == '__main__':
    print(json.dumps(look()))
