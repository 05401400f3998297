"""Alpha channel: colours for transparent pixels, so that resizing does not mix a hidden colour into a visible edge."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F


def bleed(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Returns the colours with fully transparent pixels filled from the visible pixels near them.

    Resizing mixes the colours on both sides of an edge. Without the fill, a shape on transparent black gets a dark rim.
    The fill is a pull-push pyramid (Gortler et al., The Lumigraph, SIGGRAPH 1996): means over 2x2, 4x4, ... pixels,
    weighted by alpha. A transparent pixel takes its value from the finest level with a visible pixel.

    Args:
        colours: (H, W, 3).
        alpha: (H, W); 0 is transparent.

    Returns:
        (H, W, 3) of the dtype of `colours`; visible pixels are untouched.
    """
    hidden = alpha == 0
    if not hidden.any() or hidden.all():
        return colours
    weight = torch.from_numpy(alpha.astype(np.float32) / float(alpha.max()))[None, None]
    values = torch.from_numpy(np.ascontiguousarray(colours).astype(np.float32)).permute(2, 0, 1)[None]
    filled = _filled(values, weight)[0].permute(1, 2, 0).numpy()
    filled = filled.round() if colours.dtype.kind == 'u' else filled
    return np.where(hidden[..., None], filled.astype(colours.dtype), colours)


def _filled(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """(1, 3, H, W) values; those of weight 0 are taken from the next coarser level."""
    if weight.shape[-2:] == (1, 1) or bool((weight > 0).all()):
        return values
    share = _halved(weight)
    means = _halved(values * weight) / share.clamp_min(1e-12)
    above = F.interpolate(_filled(means, share), size=values.shape[-2:], mode='bilinear', align_corners=False)
    return torch.where(weight > 0, values, above)


def _halved(values: torch.Tensor) -> torch.Tensor:
    return F.avg_pool2d(values, 2, ceil_mode=True, count_include_pad=False)
