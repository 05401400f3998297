"""Focal frequency loss."""

from __future__ import annotations

from typing import Any

from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from metaf2n_arch.functional.frequency import focal_frequency_distance
from metaf2n_arch.losses.pair import at_least_float32, require_pair
from metaf2n_arch.utils.checks import OptionError, require_number
from metaf2n_arch.utils.registries import register


@register(LOSS_REGISTRY)
class FocalFrequencyLoss(nn.Module):
    """Focal frequency loss (Jiang et al., ICCV 2021, eq. 8 and 9): frequencies that are hard to restore weigh more.

    L = mean_uv w(u, v) |F_x(u, v) - F_y(u, v)|², w = |F_x - F_y|^α divided by its largest value; w has no gradient.

    Args:
        loss_weight: factor of the result.
        alpha: α, at least 0.
        patch_factor: number of patches along each side, which are compared one by one; it must divide both sides.
        ave_spectrum: compare the spectra averaged over the batch.
        log_matrix: w becomes log(1 + w) before the division.
        batch_matrix: divide by the largest value in the batch, not in each image and channel.

    Forward: `pred` x and `target` y, (B, C, H, W) in [0, 1] → scalar. Options and values are those of the authors'
    program, without its matrix of predefined weights.

    Raises:
        OptionError: for a negative `alpha` or a `patch_factor` that is no positive integer.
        ValueError: for images that are not floating-point (B, C, H, W), that differ in shape, or whose sides are no
            multiples of `patch_factor`.

    >>> import torch
    >>> FocalFrequencyLoss()(torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8))
    tensor(1.)
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        alpha: float = 1.0,
        patch_factor: int = 1,
        ave_spectrum: bool = False,
        log_matrix: bool = False,
        batch_matrix: bool = False,
    ) -> None:
        super().__init__()
        require_number('FocalFrequencyLoss alpha', alpha)
        if alpha < 0:
            raise OptionError(f'FocalFrequencyLoss alpha is {alpha!r}, expected a number of at least 0.')
        if not isinstance(patch_factor, int) or patch_factor < 1:
            raise OptionError(f'FocalFrequencyLoss patch_factor is {patch_factor!r}, expected an integer above 0.')
        self.loss_weight = float(loss_weight)
        self.alpha = float(alpha)
        self.patch_factor = patch_factor
        self.ave_spectrum = ave_spectrum
        self.log_matrix = log_matrix
        self.batch_matrix = batch_matrix

    @property
    def mean_over_images(self) -> bool:
        return not (self.ave_spectrum or self.batch_matrix)

    def forward(self, pred: Tensor, target: Tensor, **_: Any) -> Tensor:
        require_pair(pred, target)
        distance = focal_frequency_distance(
            at_least_float32(pred),
            at_least_float32(target),
            alpha=self.alpha,
            patch_factor=self.patch_factor,
            average=self.ave_spectrum,
            log_weight=self.log_matrix,
            batch_weight=self.batch_matrix,
        )
        return self.loss_weight * distance
