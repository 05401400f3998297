"""Bicubic resizing of some rows of a picture, or strip by strip, with the values that resizing the whole would give."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]


def resized_rows(image: Tensor, size: Size, first: int, last: int) -> Tensor:
    """Rows `first` to `last` (excluded) of an image resized to `size`: bicubic, antialiased when shrinking.

    Args:
        image: (1, C, H, W) in [0, 1].
        size: height and width of the whole result.

    Returns:
        (1, C, last - first, W'), clamped to [0, 1].
    """
    if tuple(image.shape[-2:]) == size:
        return image[..., first:last, :]
    starts, _, taps = _taps(image.shape[-2], size[0])
    low, high = starts[first], min(starts[last - 1] + taps, image.shape[-2])
    return _mixed(_wider(image[..., low:high, :], size[1]), low, image.shape[-2], size[0], first, last)


def resized_strips(strips: Iterable[Tensor], old: Size, new: Size) -> Iterator[Tensor]:
    """Resizes a picture that comes in strips, from size `old` to `new`.

    Args:
        strips: (1, C, h, W), from top to bottom, of any heights.
        old, new: height and width of the whole picture before and after.

    Yields:
        (1, C, h', W') strips of the resized picture, from top to bottom.
    """
    if old == new:
        yield from strips
        return
    starts, _, taps = _taps(old[0], new[0])
    kept: Tensor | None = None
    top = done = 0  # first row kept, first row not yet given
    for strip in strips:
        wide = _wider(strip, new[1])
        kept = wide if kept is None else torch.cat((kept, wide), -2)
        bottom = top + kept.shape[-2]
        ready = done
        while ready < new[0] and (bottom == old[0] or starts[ready] + taps <= bottom):
            ready += 1
        if ready > done:
            yield _mixed(kept, top, old[0], new[0], done, ready)
            done = ready
        keep = starts[done] if done < new[0] else bottom
        kept, top = kept[..., max(0, keep - top) :, :], max(top, keep)


def _wider(rows: Tensor, width: int) -> Tensor:
    if rows.shape[-1] == width:
        return rows
    size = (rows.shape[-2], width)
    return F.interpolate(rows, size=size, mode='bicubic', align_corners=False, antialias=True)


def _mixed(rows: Tensor, top: int, old: int, new: int, first: int, last: int) -> Tensor:
    """Output rows `first` to `last` (excluded), from input rows of which the first is row `top`."""
    starts, weights, taps = _taps(old, new)
    places = torch.tensor(starts[first:last]) - top
    result = rows.new_zeros(*rows.shape[:-2], last - first, rows.shape[-1])
    for tap in range(taps):
        weight = weights[first:last, tap].to(rows)
        index = (places + tap).clamp_max(rows.shape[-2] - 1).to(rows.device)
        result += rows.index_select(-2, index) * weight[:, None]
    return result.clamp(0, 1)


@lru_cache(maxsize=8)
def _taps(old: int, new: int) -> tuple[list[int], Tensor, int]:
    """First input row of each output row, the weights (new, taps), and the number of taps.

    Keys' cubic kernel with a = -0.5, widened by the factor when shrinking, cut off at the border, normalised to sum 1:
    as `torch.nn.functional.interpolate` with ``antialias=True``.
    """
    factor = max(1.0, old / new)
    support = 2 * factor
    centres = (torch.arange(new, dtype=torch.float64) + 0.5) * (old / new)
    starts = (centres - support + 0.5).long().clamp_min(0)
    ends = (centres + support + 0.5).long().clamp_max(old)
    taps = int((ends - starts).max())
    offset = torch.arange(taps)
    distance = ((starts[:, None] + offset + 0.5 - centres[:, None]) / factor).abs()
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights = torch.where(distance < 1, near, torch.where(distance < 2, far, torch.zeros_like(distance)))
    weights = weights * (starts[:, None] + offset < ends[:, None])
    return starts.tolist(), (weights / weights.sum(1, keepdim=True)).float(), taps
