"""DCT loss: the normalised distance of two images under the discrete cosine transform."""

from __future__ import annotations

from typing import Any

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from metaf2n_arch.functional.frequency import dct_distance
from metaf2n_arch.losses.pair import at_least_float32, require_order, require_pair
from metaf2n_arch.utils.registries import register


@register(LOSS_REGISTRY)
class DCTLoss(nn.Module):
    """L = ‖T(x) - T(y)‖ / max(‖T(x)‖, ‖T(y)‖), T the orthonormal type-II discrete cosine transform of both axes.

    T continues an image by reflection. So, unlike the Fourier transform, it has no false edge where opposite borders
    meet.

    Args:
        loss_weight: factor of the result.
        order: 1, the sum of absolute coefficients, or 2, the Euclidean norm; see `FFTLoss` on why 1 is the default.

    Forward: `pred` x and `target` y, (B, C, H, W) of any range and size → scalar in [0, 2], the mean over the batch.

    Raises:
        OptionError: for an order other than 1 and 2.
        ValueError: for images that are not floating-point (B, C, H, W), or that differ in shape.

    >>> DCTLoss()(torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8))
    tensor(1.)
    """

    mean_over_images = True

    def __init__(self, loss_weight: float = 1.0, order: int = 1) -> None:
        super().__init__()
        require_order('DCTLoss', order)
        self.loss_weight = float(loss_weight)
        self.order = order

    def forward(self, pred: Tensor, target: Tensor, **_: Any) -> Tensor:
        require_pair(pred, target)
        with torch.autocast(pred.device.type, enabled=False):  # the transform is a matrix product
            return self.loss_weight * dct_distance(at_least_float32(pred), at_least_float32(target), self.order).mean()
