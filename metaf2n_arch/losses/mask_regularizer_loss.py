"""Mask regulariser: keeps confidence maps near one."""

from __future__ import annotations

from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from metaf2n_arch.utils.registries import register


@register(LOSS_REGISTRY)
class MaskRegularizerLoss(nn.Module):
    """``L = loss_weight * mean((W - 1)^2) / 2`` (MetaF2N, Yin et al. 2023, §3.3).

    Without it MaskNet could make the inner loss 0 by confidence maps of 0.

    Args:
        loss_weight: the paper's is 0.002.

    >>> import torch
    >>> MaskRegularizerLoss(0.5)(torch.full((1, 1, 2, 2), 3.0))
    tensor(1.)
    """

    inputs = ('confidence',)

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = float(loss_weight)

    def forward(self, confidence: Tensor) -> Tensor:
        """Returns the scalar loss of confidence maps (N, 1, H, W)."""
        return self.loss_weight * (confidence - 1).square().mean() / 2
