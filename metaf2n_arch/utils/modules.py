"""Where networks run, and several threads that use one."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn

from metaf2n_arch.utils.checks import OptionError


def shell(net: nn.Module) -> nn.Module:
    """A copy of a network's structure that holds the very same tensors."""
    return deepcopy(net, {id(tensor): tensor for tensor in [*net.parameters(), *net.buffers()]})


def pick_device(device: str | torch.device | None) -> torch.device:
    """The device of that name, a GPU if there is one where None is given.

    Raises:
        OptionError: no such device.
    """
    if device is None:
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].split('. ')[0][:160].rstrip('.')
        raise OptionError(f'device is {str(device)!r}: {reason}. Give another one; cpu works everywhere.') from None
    return found
