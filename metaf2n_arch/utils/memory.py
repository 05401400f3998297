"""Peak memory of this process."""

from __future__ import annotations

import sys

import torch


def peak_memory(device: torch.device) -> float:
    """Returns the peak memory so far in bytes: allocated by torch on a GPU, resident in this process on a CPU.

    NaN where the system does not report it (Windows, on a CPU).
    """
    if device.type == 'cuda':
        return float(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:
        return float('nan')
    unit = 1 if sys.platform == 'darwin' else 1024  # bytes per unit of ru_maxrss
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
