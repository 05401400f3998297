"""Tiles: runs a network on a large image part by part, in bounded memory and without visible seams."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from metaf2n_arch.images.sizes import check_tile, mixed_by_tiles, shared_by_tiles
from metaf2n_arch.utils.progress import Progress, silent


def run_tiled(run: Callable[[Tensor], Tensor], image: Tensor, *, scale: int, tile: int, overlap: int) -> Tensor:
    """Runs an enlarging network tile by tile.

    Each tile contributes only pixels that are at least `overlap` pixels away from its inner borders. A network whose
    receptive field has a radius of at most `overlap` therefore gives the same as on the whole image. Neighbouring tiles
    are blended linearly over another half of `overlap`, which hides the seams of networks with a larger field.

    Args:
        run: (B, C, h, w) -> (B, C', s·h, s·w).
        image: (B, C, H, W).
        scale: s, of `run`.
        tile: largest side of a tile, in pixels of `image`; 0 runs the whole image at once.
        overlap: surroundings that each tile includes on each side, in pixels of `image`.

    Returns:
        (B, C', s·H, s·W).

    Raises:
        OptionError: the tile is too small for the overlap.

    >>> run_tiled(lambda x: x.repeat_interleave(2, 2).repeat_interleave(2, 3), torch.rand(1, 3, 50, 40),
    ...           scale=2, tile=32, overlap=4).shape
    torch.Size([1, 3, 100, 80])
    """
    strips = list(tiled_strips(run, image, scale=scale, tile=tile, overlap=overlap))
    return torch.cat(strips, -2) if len(strips) > 1 else strips[0]


def tiled_strips(
    run: Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    scale: int,
    tile: int,
    overlap: int,
    progress: Progress = silent,
) -> Iterator[Tensor]:
    """Yields the result of `run_tiled` in strips from top to bottom; one row of tiles is in memory at a time.

    `progress` counts ``tiles``.
    """
    height, width = image.shape[-2:]
    if tile == 0 or max(height, width) <= tile:
        progress('tiles', 0, 1)
        whole = run(image)
        progress('tiles', 1, 1)
        yield whole
        return
    check_tile(tile, overlap)
    rows, columns = _windows(height, tile, overlap, scale), _windows(width, tile, overlap, scale)
    done, total = 0, len(rows) * len(columns)
    progress('tiles', done, total)
    kept = None  # rows that the next row of tiles adds to
    for number, (top, row_weight) in enumerate(rows):
        band = None
        for left, column_weight in columns:
            bottom, right = top + len(row_weight) // scale, left + len(column_weight) // scale
            part = run(image[..., top:bottom, left:right])
            if band is None:
                band = part.new_zeros(*part.shape[:-1], width * scale)
            weight = torch.outer(row_weight, column_weight).to(part)
            band[..., left * scale :][..., : part.shape[-1]] += part * weight
            done += 1
            progress('tiles', done, total)
        assert band is not None
        if kept is not None:
            band[..., : kept.shape[-2], :] += kept
        end = band.shape[-2] if number == len(rows) - 1 else (rows[number + 1][0] - top) * scale
        kept = band[..., end:, :].clone()
        yield band[..., :end, :]


STEP = 16
"""Sides of tiles are multiples of this number, which suits networks that fold pixels or attend in windows."""


def _windows(length: int, tile: int, overlap: int, scale: int) -> list[tuple[int, Tensor]]:
    """First pixel of each tile along one axis, spread evenly, and its weights (scale · side,).

    There are as few tiles as `tile` allows, and they are no larger than that number needs: two tiles of 512 for 600
    pixels would compute most pixels twice. The weights of all tiles at one pixel sum to 1.
    """
    side, shared = min(tile, length), shared_by_tiles(overlap)
    count = 1 if length <= tile else math.ceil((length - shared) / (tile - shared))
    needed = math.ceil((length + (count - 1) * shared) / count)
    side = min(side, STEP * math.ceil(needed / STEP))
    starts = [round(i * (length - side) / max(1, count - 1)) for i in range(count)]
    seams = [(first + side + second) / 2 for first, second in pairwise(starts)]
    windows = []
    for number, start in enumerate(starts):
        position = start + (torch.arange(side * scale) + 0.5) / scale
        weight = torch.ones(side * scale)
        if number > 0:
            weight = weight * _rise(position, seams[number - 1], mixed_by_tiles(overlap))
        if number < count - 1:
            weight = weight * (1 - _rise(position, seams[number], mixed_by_tiles(overlap)))
        windows.append((start, weight))
    return windows


def _rise(position: Tensor, seam: float, width: int) -> Tensor:
    """Linear ramp from 0 to 1, `width` wide, centred at `seam`."""
    return ((position - seam) / width + 0.5).clamp(0, 1)
