"""LPIPS metric."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from basicsr.utils.registry import METRIC_REGISTRY
from torch import nn

from metaf2n_arch.archs.lpips_network import TRUNKS, build_lpips
from metaf2n_arch.metrics.measure import as_tensor, checked_pair, measured
from metaf2n_arch.utils.modules import pick_device
from metaf2n_arch.utils.registries import register


@lru_cache(maxsize=3)
def _network(net: str, device: torch.device) -> nn.Module:
    return build_lpips(net).to(device)


@register(METRIC_REGISTRY)
@measured
def calculate_lpips(
    img: np.ndarray,
    img2: np.ndarray | None = None,
    crop_border: int = 0,
    net: str = 'alex',
    device: str | None = None,
    better: str = 'lower',
) -> float:
    """Learned perceptual distance (Zhang et al., CVPR 2018; the `lpips` package, version 0.1), from 0; lower is better.

    Args:
        img, img2: result and reference, (H, W, 3) BGR or (H, W), uint8; compared in RGB.
        crop_border: pixels left out at each border.
        net: ``alex`` (most papers), ``vgg`` or ``squeeze``.
        device: where to compute; the GPU if there is one.
        better: ``higher`` or ``lower``, read by BasicSR's record of the best result.

    Returns:
        The value; NaN if it cannot be measured, with the reason in the log, such as a missing weights file.
    """
    first, second = checked_pair(img, img2, crop_border)
    place = pick_device(device)
    network = _network(net, place)
    least = TRUNKS[net].smallest
    if min(first.shape[:2]) < least:
        raise ValueError(
            f'an image of {first.shape[0]}x{first.shape[1]} is too small; net {net!r} needs {least}x{least} or more'
        )
    with torch.inference_mode():
        return network(as_tensor(first, place), as_tensor(second, place), normalize=True).item()
