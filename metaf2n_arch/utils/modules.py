"""Where networks run, and several threads that use one."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn

from metaf2n_arch.utils.checks import OptionError


def shell(net: nn.Module) -> nn.Module:
    """A copy of a network's structure that holds the very same tensors."""
    return deepcopy(net, {id(tensor): tensor for tensor in [*net.parameters(), *net.buffers()]})


GPUS = ('cuda', 'xpu', 'mps')
"""Kinds of GPUs, NVIDIA's and AMD's, Intel's, Apple's, in the order in which they are chosen."""


def pick_device(device: str | torch.device | None) -> torch.device:
    """The device of that name; where None is given the GPU of this machine, if it has one: CUDA, XPU or MPS.

    Raises:
        OptionError: no such device.
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
    # Of MPS, older versions of torch tell only below `torch.backends`.
    module = getattr(torch.backends if kind == 'mps' else torch, kind, None)
    return module is not None and bool(module.is_available())
