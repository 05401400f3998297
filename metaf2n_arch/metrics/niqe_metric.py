"""NIQE: BasicSR's, whose parameters come with it, and pyiqa's."""

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
    """NIQE fits a Gaussian to blocks of 96x96: it has no covariance with fewer than two."""
    height, width = image.shape[:2]
    if (height // BLOCK) * (width // BLOCK) < 2:
        raise ValueError(f'an image of {height}x{width} has fewer than two blocks of {BLOCK}x{BLOCK}')


@register(METRIC_REGISTRY)
@measured
def calculate_niqe_y(
    img: np.ndarray, img2: np.ndarray | None = None, crop_border: int = 0, better: str = 'lower'
) -> float:
    """Naturalness without a reference (Mittal et al., SPL 2013) of the BT.601 luminance, from 0; lower is better.

    BasicSR's `calculate_niqe` (MATLAB's parameters, shipped with it), but an image too small for it, at which the stock
    one ends the run, is a missing value.

    Args:
        img: the result, (H, W, 3) BGR or (H, W), uint8.
        img2: not used.
        crop_border: pixels left out at each border.
        better: for BasicSR's record of the best result.

    Returns:
        The value, or NaN, with the reason logged.
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
    """The same quantity as pyiqa computes it (on the luminance of YIQ, 0 to 255), which recent papers report.

    Args:
        img: the result, (H, W, 3) BGR or (H, W), uint8.
        img2: not used.
        crop_border: pixels left out at each border.
        device: where to compute; the GPU if there is one.
        better: for BasicSR's record of the best result.

    Returns:
        The value, or NaN, with the reason logged.
    """
    image = checked_image('result', img, crop_border)
    _require_blocks(image)
    place = pick_device(device)
    if place.type == 'mps':  # where there is no float64, in which pyiqa computes
        place = torch.device('cpu')
    metric = _pyiqa_niqe(locate('niqe', 'NIQE (pyiqa)'), str(place))
    return metric(as_tensor(image, place)).item()
