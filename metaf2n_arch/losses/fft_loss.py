"""FFT loss: the normalised distance of two images in the Fourier domain."""

from __future__ import annotations

from typing import Any

from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from metaf2n_arch.functional.frequency import fft_distance
from metaf2n_arch.losses.pair import at_least_float32, require_order, require_pair
from metaf2n_arch.utils.registries import register


@register(LOSS_REGISTRY)
class FFTLoss(nn.Module):
    """L = ‖F(x) - F(y)‖ / max(‖F(x)‖, ‖F(y)‖), F the Fourier transform; 0 where both images are 0.

    The norm is the sum of the moduli (`order` 1) or Euclidean (`order` 2). By Parseval's theorem order 2 is exactly the
    relative Euclidean distance of the pixels, for every orthonormal transform. Order 1, the default, differs from it:
    it weighs the many weak, high frequencies more.

    Args:
        loss_weight: factor of the result.
        order: 1 or 2.

    Forward: `pred` x and `target` y, (B, C, H, W) of any range and size → scalar in [0, 2], the mean over the batch.

    Raises:
        OptionError: for an order other than 1 and 2.
        ValueError: for images that are not floating-point (B, C, H, W), or that differ in shape.

    >>> import torch
    >>> FFTLoss(loss_weight=2.0)(torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8))
    tensor(2.)
    """

    mean_over_images = True

    def __init__(self, loss_weight: float = 1.0, order: int = 1) -> None:
        super().__init__()
        require_order('FFTLoss', order)
        self.loss_weight = float(loss_weight)
        self.order = order

    def forward(self, pred: Tensor, target: Tensor, **_: Any) -> Tensor:
        require_pair(pred, target)
        return self.loss_weight * fft_distance(at_least_float32(pred), at_least_float32(target), self.order).mean()
