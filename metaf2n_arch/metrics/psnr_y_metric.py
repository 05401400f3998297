"""PSNR metric of the luminance."""

from __future__ import annotations

import numpy as np
from basicsr.metrics.psnr_ssim import calculate_psnr
from basicsr.utils.registry import METRIC_REGISTRY

from metaf2n_arch.metrics.measure import checked_pair, measured
from metaf2n_arch.utils.registries import register


@register(METRIC_REGISTRY)
@measured
def calculate_psnr_y(
    img: np.ndarray, img2: np.ndarray | None = None, crop_border: int = 0, better: str = 'higher'
) -> float:
    """Peak signal-to-noise ratio of the BT.601 luminance (16 to 235), in decibel, 0 to ∞; higher is better.

    10 log₁₀ (255² / mean (Y - Y')²): BasicSR's `calculate_psnr` with ``test_y_channel``, as papers on super-resolution
    report it. But images of different sizes give NaN and do not end the run.

    Args:
        img, img2: result and reference, (H, W, 3) BGR or (H, W), uint8.
        crop_border: pixels left out at each border; papers use the scale.
        better: ``higher`` or ``lower``, read by BasicSR's record of the best result.

    Returns:
        The value; ∞ for equal images; NaN if it cannot be measured, with the reason in the log.
    """
    first, second = checked_pair(img, img2, crop_border)
    return calculate_psnr(first, second, crop_border=0, test_y_channel=True)
