"""Spectral loss: one-dimensional power spectra compared by binary cross entropy."""

from __future__ import annotations

from typing import Any

from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from metaf2n_arch.functional.frequency import spectral_distance
from metaf2n_arch.images.luminance import luminance
from metaf2n_arch.losses.pair import at_least_float32, require_pair
from metaf2n_arch.utils.checks import require_choice
from metaf2n_arch.utils.registries import register


@register(LOSS_REGISTRY)
class SpectralLoss(nn.Module):
    """Spectral loss (Durall et al., "Watch Your Up-Convolution", CVPR 2020, eq. 2 and 3).

    L = -mean_k [t_k log p_k + (1 - t_k) log(1 - p_k)], p_k = AI_k(x) / AI_0(x), t_k = AI_k(y) / AI_0(y), AI the power
    spectrum of the luminance averaged over all directions. Smallest, but not 0, where both spectra agree.

    Args:
        loss_weight: factor of the result.
        scale: ``power`` (the paper), or ``log`` (the authors' program): logarithms of moduli, scaled to [0, 1].

    Forward: `pred` x and `target` y, (B, 3 or 1, H, W), RGB in [0, 1], any size from 2x2 → scalar, mean over the batch.

    Differences: rings go up to the highest frequency of the axes, without the corners. The target is the paired image,
    not the mean of all real images. The authors' program computes its spectra outside the graph, so that they train
    nothing; here they are differentiated.

    Raises:
        OptionError: for an unknown scale.
        ValueError: for images that are not floating-point (B, 1 or 3, H, W), or that differ in shape.

    >>> import torch
    >>> x = torch.rand(1, 3, 16, 16)
    >>> bool(SpectralLoss()(x / 2, x) == SpectralLoss()(x, x))  # brightness does not matter
    True
    """

    mean_over_images = True

    def __init__(self, loss_weight: float = 1.0, scale: str = 'power') -> None:
        super().__init__()
        require_choice('SpectralLoss scale', scale, ('power', 'log'))
        self.loss_weight = float(loss_weight)
        self.scale = scale

    def forward(self, pred: Tensor, target: Tensor, **_: Any) -> Tensor:
        require_pair(pred, target)
        distance = spectral_distance(luminance(at_least_float32(pred)), luminance(at_least_float32(target)), self.scale)
        return self.loss_weight * distance.mean()
