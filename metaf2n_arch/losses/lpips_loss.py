"""LPIPS loss: learned perceptual distance as a training loss."""

from __future__ import annotations

from typing import Any

from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from metaf2n_arch.archs.lpips_network import TRUNKS, build_lpips
from metaf2n_arch.losses.pair import require_pair
from metaf2n_arch.utils.registries import register


@register(LOSS_REGISTRY)
class LPIPSLoss(nn.Module):
    """Learned perceptual distance (Zhang et al., "The Unreasonable Effectiveness of Deep Features", CVPR 2018).

    L = Σ_l mean_hw ‖w_l ⊙ (φ̂_l(x) - φ̂_l(y))‖², φ̂_l the channel-normalised activations of layer l of a frozen trunk
    and w_l the learned heads (version 0.1), averaged over the batch. It equals the `lpips` package on 2·x - 1.

    Args:
        net: the trunk, ``alex`` (MetaF2N and its evaluation), ``vgg`` or ``squeeze``.
        loss_weight: factor of the result.
        trunk_path: the trunk's weights file; searched for in torch's download folder if left out.

    Raises:
        OptionError: for an unknown trunk.
        DataError: if the trunk's weights file is missing; the message says its name, from where, to where.
        ValueError: for images that are not floating-point (B, 3, H, W), that differ in shape, or are too small.

    Forward: `pred` and `target` (B, 3, H, W), RGB in [0, 1], sides from 31 (alex), 16 (vgg) or 17 (squeeze) → scalar.

    >>> LPIPSLoss(net='alxe')
    Traceback (most recent call last):
    metaf2n_arch.utils.checks.OptionError: LPIPS net is 'alxe', expected one of ['alex', 'vgg', 'squeeze']. Did ...
    """

    mean_over_images = True

    def __init__(self, net: str = 'alex', loss_weight: float = 1.0, trunk_path: str | None = None) -> None:
        super().__init__()
        self.net = net
        self.loss_weight = float(loss_weight)
        self.network = build_lpips(net, trunk_path)

    def train(self, mode: bool = True) -> LPIPSLoss:
        """Stays in evaluation mode: the heads contain dropout."""
        super().train(mode)
        self.network.eval()
        return self

    def forward(self, pred: Tensor, target: Tensor, **_: Any) -> Tensor:
        require_pair(pred, target, channels=3)
        smallest = TRUNKS[self.net].smallest
        if min(pred.shape[-2:]) < smallest:
            raise ValueError(
                f'LPIPS ({self.net}) needs images of {smallest}x{smallest} or more, got {tuple(pred.shape[-2:])}.'
            )
        dtype = next(self.network.parameters()).dtype
        distance = self.network(2 * pred.to(dtype) - 1, 2 * target.to(dtype) - 1)
        return self.loss_weight * distance.mean()
