"""Devices for networks and what they can do, and copies of a network for threads."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import torch
from torch import nn

from metaf2n_arch.utils.checks import OptionError


def shell(net: nn.Module) -> nn.Module:
    """Returns a copy of a network's module tree that shares all parameters and buffers with `net`."""
    return deepcopy(net, {id(tensor): tensor for tensor in [*net.parameters(), *net.buffers()]})


GPUS = ('cuda', 'xpu', 'mps')
"""Device types of GPUs, in order of preference: NVIDIA and AMD (cuda), Intel (xpu), Apple (mps)."""


def pick_device(device: str | torch.device | None) -> torch.device:
    """Returns the device of that name; for None the GPU of this machine (CUDA, XPU or MPS), or the CPU without one.

    Raises:
        OptionError: there is no such device.
    """
    if device is None:
        return torch.device(next((kind for kind in GPUS if _is_there(kind)), 'cpu'))
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].split('. ')[0][:160].rstrip('.')
        raise OptionError(f'device is {str(device)!r}: {reason}. Give another one; cpu works everywhere.') from None
    return found


def _is_there(kind: str) -> bool:
    # Older versions of torch have is_available of MPS only in torch.backends.
    module = getattr(torch.backends if kind == 'mps' else torch, kind, None)
    return module is not None and bool(module.is_available())


def emulates_bfloat16(device: torch.device, processor: Path = Path('/proc/cpuinfo')) -> bool:
    """Whether `device` is a CPU on which torch takes many times as long for bfloat16 as for float32.

    These are processors of x86 without AVX-512, as `processor` lists its instructions; False where it is not there.
    """
    if device.type != 'cpu' or not processor.is_file():
        return False
    flags = {flag for line in processor.read_text().splitlines() if line.startswith('flags') for flag in line.split()}
    return bool(flags) and 'avx512f' not in flags
