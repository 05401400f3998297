"""Self-similarity graph by loops over pixels, exactly as the equation: the reference that tests compare paths with."""

from __future__ import annotations

import torch
from torch import Tensor

from metaf2n_arch.functional.self_similarity.geometry import EPSILON, Geometry, accumulation_dtype
from metaf2n_arch.utils.padding import reflect_pad


def naive_graph(image: Tensor, mask: Tensor, geometry: Geometry, h: float, normalize: bool = True) -> Tensor:
    """Computes the graph of the masked pixels with a loop over pixels and a loop over their search windows.

    d²(p, q) = 1/(C P²) Σ_c Σ_j (I_c[p + j] - I_c[q + j])²,  S = exp(-d²/h),  S̄ = S / (Σ_q S + 1e-10)

    Args:
        image: (B, C, H, W) in [0, 1].
        mask: (B, H, W), bool.
        geometry: window, patch and border.
        h: scale of the squared distance.
        normalize: return S̄ rather than S.

    Returns:
        (M, K²), masked pixels in the order of ``mask.nonzero()``, shifts row by row from the top left; differentiable.
    """
    wide = image.to(accumulation_dtype(image.dtype))
    padded = reflect_pad(wide, geometry.pad)
    rows = [
        _one_pixel(padded[b], y + geometry.pad, x + geometry.pad, geometry, h, normalize)
        for b, y, x in mask.nonzero().tolist()
    ]
    return torch.stack(rows) if rows else wide.sum((1, 2, 3))[:0, None].expand(0, geometry.search_size**2)


def _one_pixel(padded: Tensor, y: int, x: int, geometry: Geometry, h: float, normalize: bool) -> Tensor:
    search, patch = geometry.radius, geometry.patch_radius
    centre = padded[:, y - patch : y + patch + 1, x - patch : x + patch + 1]
    similarities = []
    for dy in range(-search, search + 1):
        for dx in range(-search, search + 1):
            other = padded.new_zeros(centre.shape)
            (top, bottom), (left, right) = geometry.extent(dy), geometry.extent(dx)
            other[:, top + patch : bottom + patch + 1, left + patch : right + patch + 1] = padded[
                :, y + dy + top : y + dy + bottom + 1, x + dx + left : x + dx + right + 1
            ]
            similarities.append(torch.exp(-(centre - other).square().mean() / h))
    s = torch.stack(similarities)
    return s / (s.sum() + EPSILON) if normalize else s
