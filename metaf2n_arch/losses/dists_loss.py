"""DISTS loss: deep image structure and texture similarity as a training loss."""

from __future__ import annotations

from typing import Any

from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from metaf2n_arch.archs.dists_network import load_dists
from metaf2n_arch.losses.pair import require_pair
from metaf2n_arch.utils.registries import register


@register(LOSS_REGISTRY)
class DISTSLoss(nn.Module):
    """Deep image structure and texture similarity (Ding et al., "Image Quality Assessment", TPAMI 2020, eq. 4 to 6).

    L = 1 - Σ_ij [α_ij l(x̃_ij, ỹ_ij) + β_ij s(x̃_ij, ỹ_ij)], averaged over the batch, x̃_ij channel j of stage i of
    VGG16 with L2 pooling (stage 0 is the image), l = (2 μ_x μ_y + c) / (μ_x² + μ_y² + c),
    s = (2 σ_xy + c) / (σ_x² + σ_y² + c), c = 1e-6, Σ α + β = 1.

    Args:
        loss_weight: factor of the result.

    Forward: `pred` and `target` (B, 3, H, W), RGB in [0, 1] → scalar, 0 for equal images. The images are compared at
    their own size; the authors' command line first downscales the shorter side to 256.

    Raises:
        DataError: if the weights of VGG16 or of α, β are missing; the message says which file, from where, to where.
        ValueError: for images that are not floating-point (B, 3, H, W), or that differ in shape.
    """

    mean_over_images = True

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = float(loss_weight)
        self.network = load_dists()

    def forward(self, pred: Tensor, target: Tensor, **_: Any) -> Tensor:
        require_pair(pred, target, channels=3)
        dtype = self.network.alpha.dtype
        return self.loss_weight * self.network(pred.to(dtype), target.to(dtype)).mean()
