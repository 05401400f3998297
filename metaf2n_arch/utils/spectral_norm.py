"""Spectral normalisation with one power iteration per training step, not one per forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.spectral_norm import SpectralNorm


def spectral_modules(net: nn.Module) -> list[nn.Module]:
    """Returns the modules whose ``training`` flag decides whether a forward pass runs a power iteration."""
    return [
        module
        for module in net.modules()
        if isinstance(module, _SpectralNorm)
        or any(isinstance(hook, SpectralNorm) for hook in module._forward_pre_hooks.values())
    ]


@contextmanager
def power_iteration(net: nn.Module, enabled: bool) -> Iterator[None]:
    """Switches the power iteration of spectral normalisation on or off inside the block.

    PyTorch runs one power iteration, which updates the vectors u and v, in each forward pass in training mode. The
    discriminator then depends on how often it was evaluated. The authors of MetaF2N update u once per training step.
    Only the normalised layers change their mode; batch normalisation and dropout behave as before.
    """
    modules = spectral_modules(net)
    before = [module.training for module in modules]
    try:
        for module in modules:
            module.training = enabled
        yield
    finally:
        for module, mode in zip(modules, before):
            module.training = mode


def advance_power_iteration(net: nn.Module) -> None:
    """Runs one power iteration in every spectrally normalised layer, without a forward pass of the network."""
    with torch.no_grad(), power_iteration(net, enabled=True):
        for module in net.modules():
            for hook in module._forward_pre_hooks.values():
                if isinstance(hook, SpectralNorm):
                    hook(module, ())
            for name in getattr(module, 'parametrizations', ()):
                getattr(module, name)
