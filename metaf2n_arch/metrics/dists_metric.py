"""DISTS metric."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from basicsr.utils.registry import METRIC_REGISTRY

from metaf2n_arch.archs.dists_network import DISTS, load_dists
from metaf2n_arch.metrics.measure import as_tensor, checked_pair, measured
from metaf2n_arch.utils.modules import pick_device
from metaf2n_arch.utils.registries import register


@lru_cache(maxsize=2)
def _network(device: torch.device) -> DISTS:
    return load_dists().to(device)


@register(METRIC_REGISTRY)
@measured
def calculate_dists(
    img: np.ndarray,
    img2: np.ndarray | None = None,
    crop_border: int = 0,
    device: str | None = None,
    better: str = 'lower',
) -> float:
    """Deep image structure and texture similarity (Ding et al., TPAMI 2020), 0 to about 1; lower is better.

    The same value as pyiqa's ``dists``: images are compared at their own size.

    Args:
        img, img2: result and reference, (H, W, 3) BGR or (H, W), uint8; compared in RGB.
        crop_border: pixels left out at each border.
        device: where to compute; the GPU if there is one.
        better: ``higher`` or ``lower``, read by BasicSR's record of the best result.

    Returns:
        The value; NaN if it cannot be measured, with the reason in the log, such as a missing weights file.
    """
    first, second = checked_pair(img, img2, crop_border)
    place = pick_device(device)
    with torch.inference_mode():
        return _network(place)(as_tensor(first, place), as_tensor(second, place)).item()
