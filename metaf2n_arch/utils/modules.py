"""Devices for networks, and copies of a network for threads."""

from __future__ import annotations

from copy import deepcopy

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
