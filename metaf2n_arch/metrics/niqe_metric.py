"""NIQE metrics: BasicSR's, with the parameters that BasicSR contains, and pyiqa's."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.metrics.niqe import calculate_niqe
from basicsr.utils.registry import METRIC_REGISTRY

from metaf2n_arch.metrics.measure import as_tensor, checked_image, measured
from metaf2n_arch.utils.modules import pick_device
from metaf2n_arch.utils.registries import register
from metaf2n_arch.weights.search import locate

BLOCK = 96


def _require_blocks(image: np.ndarray) -> None:
    """Raises `ValueError` with fewer than two blocks of 96x96: NIQE computes their covariance."""
    height, width = image.shape[:2]
    if (height // BLOCK) * (width // BLOCK) < 2:
        raise ValueError(f'an image of {height}x{width} has fewer than two blocks of {BLOCK}x{BLOCK}')


@register(METRIC_REGISTRY)
@measured
def calculate_niqe_y(
    img: np.ndarray, img2: np.ndarray | None = None, crop_border: int = 0, better: str = 'lower'
) -> float:
    """Naturalness without a reference (Mittal et al., SPL 2013) of the BT.601 luminance, from 0; lower is better.

    BasicSR's `calculate_niqe` (MATLAB's parameters, which BasicSR contains). But a too small image gives NaN, where
    BasicSR's own metric ends the run.

    Args:
        img: the result, (H, W, 3) BGR or (H, W), uint8.
        img2: not used.
        crop_border: pixels left out at each border.
        better: ``higher`` or ``lower``, read by BasicSR's record of the best result.

    Returns:
        The value; NaN if it cannot be measured, with the reason in the log.
    """
    image = checked_image('result', img, crop_border)
    _require_blocks(image)
    return calculate_niqe(image, crop_border=0)


@lru_cache(maxsize=2)
def _pyiqa_niqe(path: Path, device: str) -> Any:
    import pyiqa

    return pyiqa.create_metric('niqe', device=device, pretrained_model_path=str(path))


@register(METRIC_REGISTRY)
@measured
def calculate_niqe_pyiqa(
    img: np.ndarray,
    img2: np.ndarray | None = None,
    crop_border: int = 0,
    device: str | None = None,
    better: str = 'lower',
) -> float:
    """NIQE as pyiqa computes it (luminance of YIQ, 0 to 255), from 0; lower is better. Recent papers report this value.

    Args:
        img: the result, (H, W, 3) BGR or (H, W), uint8.
        img2: not used.
        crop_border: pixels left out at each border.
        device: where to compute; the GPU if there is one.
        better: ``higher`` or ``lower``, read by BasicSR's record of the best result.

    Returns:
        The value; NaN if it cannot be measured, with the reason in the log.
    """
    image = checked_image('result', img, crop_border)
    _require_blocks(image)
    place = pick_device(device)
    if place.type == 'mps':  # it has no float64, which pyiqa needs
        place = torch.device('cpu')
    metric = _pyiqa_niqe(locate('niqe', 'NIQE (pyiqa)'), str(place))
    return metric(as_tensor(image, place)).item()
