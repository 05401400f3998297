"""spandrel's networks by name: ``{type: Spandrel, arch: SPAN, num_in_ch: 3, ...}``."""

from __future__ import annotations

from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from metaf2n_arch.archs.spandrel_networks import build_spandrel, check_network
from metaf2n_arch.utils.registries import register


@register(ARCH_REGISTRY)
def Spandrel(arch: str, **hyperparameters: Any) -> nn.Module:
    """Network of spandrel: (B, C, h, w) in [0, 1] -> (B, C, s·h, s·w), for training, adaptation and restoration.

    Args:
        arch: its name: SPAN, RealPLKSR, DAT, HAT, OmniSR, ATD, DRCT, RGT, SwinIR, ...
        hyperparameters: arguments of its constructor, by its own names.

    Raises:
        OptionError: the network is unknown, or does not accept these arguments.
    """
    return build_spandrel(arch, **hyperparameters)


Spandrel.check_options = check_network  # type: ignore[attr-defined]  # called before anything is built
