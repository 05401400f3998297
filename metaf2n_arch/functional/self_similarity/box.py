"""The self-similarity graph by box filters, in plain PyTorch: any device, any order of derivative."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from metaf2n_arch.functional.self_similarity.criterion import CriterionWeights, graph_difference
from metaf2n_arch.functional.self_similarity.geometry import EPSILON, Geometry, accumulation_dtype
from metaf2n_arch.utils.padding import reflect_pad

# Most numbers in one block of shifts: enough for an operation to be efficient, few enough to stay in cache.
BLOCK_NUMEL = 1 << 22


def box_graph(image: Tensor, mask: Tensor, geometry: Geometry, h: float, normalize: bool = True) -> Tensor:
    """Computes the graph of the masked pixels with one separable box filter per block of shifts.

    For one shift δ, d² of the whole image is a P × P box filter of |I(x) - I(x + δ)|². A block of shifts is one
    operation. Blocks are recomputed in the backward, so that only the graph itself is kept in memory.

    Args:
        image: (B, C, H, W) in [0, 1].
        mask: (B, H, W), bool.
        geometry: window, patch and border.
        h: scale of the squared distance.
        normalize: return S̄ rather than S.

    Returns:
        (M, K²) in float32 (float64 for a float64 image), ordered as in `naive_graph`; differentiable.
    """
    with torch.autocast(image.device.type, enabled=False):
        wide = image.to(accumulation_dtype(image.dtype))
        return torch.cat([_similarity(one, m, geometry, h, normalize) for one, m in zip(wide, mask)])


def box_loss(
    pred: Tensor, target: Tensor, mask: Tensor, geometry: Geometry, h: float, weights: CriterionWeights
) -> Tensor:
    """Computes the mean difference of two images' graphs, one image of the batch after the other.

    Args:
        pred: (B, C, H, W).
        target: (B, C, H, W).
        mask: (B, H, W), bool.
        geometry: window, patch and border.
        h: scale of the squared distance.
        weights: of the two terms, see `graph_difference`.

    Returns:
        A scalar: the mean over the M K² entries of the whole batch; 0, with a zero gradient, if M = 0.
    """
    with torch.autocast(pred.device.type, enabled=False):
        dtype = accumulation_dtype(torch.promote_types(pred.dtype, target.dtype))
        total = torch.zeros((), dtype=dtype, device=pred.device)
        for x, y, m in zip(pred.to(dtype), target.to(dtype), mask):
            difference = graph_difference(
                _similarity(x, m, geometry, h, True), _similarity(y, m, geometry, h, True), weights
            )
            total = total + difference
        return total / (mask.sum().clamp_min(1) * geometry.search_size**2)


def _similarity(image: Tensor, mask: Tensor, geometry: Geometry, h: float, normalize: bool) -> Tensor:
    """S or S̄ of one (C, H, W) image."""
    y, x = mask.nonzero(as_tuple=True)
    padded = reflect_pad(image, geometry.pad)
    # With border='window' the shifted view reaches beyond the padding, at offsets whose weight is zero.
    beyond = geometry.radius + geometry.patch_radius - geometry.pad
    padded = F.pad(padded, (beyond, beyond))
    make = partial(checkpoint, _block, use_reentrant=False, preserve_rng_state=False) if _may_recompute() else _block
    blocks = [
        make(padded, y, x, geometry, dy, lowest, count)
        for dy in range(-geometry.radius, geometry.radius + 1)
        for lowest, count in _column_blocks(image, geometry)
    ]
    scale = -1.0 / (h * image.shape[0] * geometry.patch_size**2)
    s = torch.exp(torch.cat(blocks, 1) * scale)
    return s / (s.sum(1, keepdim=True) + EPSILON) if normalize else s


def _may_recompute() -> bool:
    """Whether blocks may be recomputed in the backward: inside the transforms of `torch.func` they may not."""
    try:
        with torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x):
            return True
    except RuntimeError:
        return False


def _column_blocks(image: Tensor, geometry: Geometry) -> list[tuple[int, int]]:
    """Splits the horizontal shifts -R..R into (first, count) blocks of bounded size."""
    channels, height, width = image.shape
    rim = 2 * geometry.patch_radius
    count = max(1, min(geometry.search_size, BLOCK_NUMEL // (channels * (height + rim) * (width + rim))))
    first = range(-geometry.radius, geometry.radius + 1, count)
    return [(dx, min(count, geometry.radius + 1 - dx)) for dx in first]


def _block(padded: Tensor, y: Tensor, x: Tensor, geometry: Geometry, dy: int, first: int, count: int) -> Tensor:
    """Sums of squared differences of the masked pixels for shifts (dy, first .. first + count - 1): (M, count)."""
    top, bottom = geometry.extent(dy)
    height = padded.shape[1] - 2 * geometry.pad
    width = padded.shape[2] - 2 * geometry.radius
    rows = height + bottom - top
    start = geometry.pad + top
    base = padded[:, start : start + rows, geometry.radius : geometry.radius + width]
    left = geometry.radius + first
    strip = padded[:, start + dy : start + dy + rows, left : left + width + count - 1]
    shifted = strip.unfold(2, width, 1)
    squares = (base.unsqueeze(2) - shifted).square().sum(0)
    columns = _box(squares, 0, bottom - top + 1)
    if geometry.border == 'image':
        return _box(columns, 2, geometry.patch_size)[y, :, x]
    inside = _box(columns, 2, geometry.patch_size, _taps(padded, geometry, first, count))[y, :, x]
    return inside + _rest(padded, y, x, geometry, dy, first, count)


def _rest(padded: Tensor, y: Tensor, x: Tensor, geometry: Geometry, dy: int, first: int, count: int) -> Tensor:
    """Sums of squares of the patch around p at the offsets outside the search window: (M, count)."""
    top, bottom = geometry.extent(dy)
    reach, size = geometry.patch_radius, geometry.patch_size
    energy = padded.square().sum(0)
    start = geometry.pad - reach
    height = padded.shape[1] - 2 * geometry.pad
    energy = energy[start : start + height + 2 * reach, geometry.radius : padded.shape[2] - geometry.radius]
    inside = _box(energy[top + reach : height + reach + bottom], 0, bottom - top + 1)
    taps = 1 - _taps(padded, geometry, first, count)
    rest = _box(inside.unsqueeze(1).expand(-1, count, -1), 2, size, taps)[y, :, x]
    # As the patch fits into the window, at most one of its two sides is cut.
    if top > -reach:
        above = _box(energy, 0, top + reach)[:height]
        rest = rest + _box(above, 1, size)[y, x].unsqueeze(1)
    elif bottom < reach:
        below = _box(energy[reach + bottom + 1 :], 0, reach - bottom)
        rest = rest + _box(below, 1, size)[y, x].unsqueeze(1)
    return rest


def _taps(padded: Tensor, geometry: Geometry, first: int, count: int) -> Tensor:
    """1 where the horizontal offset j of a shift lies in the search window, else 0: (P, count, 1)."""
    offset = torch.arange(-geometry.patch_radius, geometry.patch_radius + 1, device=padded.device)
    low, high = zip(*(geometry.extent(dx) for dx in range(first, first + count)))
    inside = (offset[:, None] >= offset.new_tensor(low)) & (offset[:, None] <= offset.new_tensor(high))
    return inside.to(padded.dtype).unsqueeze(2)


def _box(values: Tensor, axis: int, size: int, taps: Tensor | None = None) -> Tensor:
    """Sums of `size` neighbours along one axis, each offset weighted by `taps` if given."""
    length = values.shape[axis] - size + 1
    total = values.narrow(axis, 0, length) if taps is None else values.narrow(axis, 0, length) * taps[0]
    for j in range(1, size):
        part = values.narrow(axis, j, length)
        total = total + part if taps is None else torch.addcmul(total, part, taps[j])
    return total
