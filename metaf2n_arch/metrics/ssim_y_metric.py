"""SSIM metric of the luminance."""

from __future__ import annotations

import numpy as np
from basicsr.metrics.psnr_ssim import calculate_ssim
from basicsr.utils.registry import METRIC_REGISTRY

from metaf2n_arch.metrics.measure import checked_pair, measured
from metaf2n_arch.utils.registries import register


@register(METRIC_REGISTRY)
@measured
def calculate_ssim_y(
    img: np.ndarray, img2: np.ndarray | None = None, crop_border: int = 0, better: str = 'higher'
) -> float:
    """Structural similarity (Wang et al. 2004) of the BT.601 luminance, -1 to 1; higher is better.

    BasicSR's `calculate_ssim` with ``test_y_channel``: Gaussian window of 11 pixels, σ = 1.5, without padding. Images
    of different sizes, or smaller than the window, give NaN.

    Args:
        img, img2: result and reference, (H, W, 3) BGR or (H, W), uint8.
        crop_border: pixels left out at each border.
        better: ``higher`` or ``lower``, read by BasicSR's record of the best result.

    Returns:
        The value; NaN if it cannot be measured, with the reason in the log.
    """
    first, second = checked_pair(img, img2, crop_border)
    if min(first.shape[:2]) < 11:
        raise ValueError(f'an image of {first.shape[0]}x{first.shape[1]} is smaller than the window of 11x11')
    return calculate_ssim(first, second, crop_border=0, test_y_channel=True)
