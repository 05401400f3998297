"""Sizes of results and of tiles, checked without torch, so that a wrong option is reported before anything loads."""

from __future__ import annotations

import numpy as np

from metaf2n_arch.utils.checks import OptionError


def output_size(image: np.ndarray, factor: float) -> tuple[int, int]:
    """Height and width of `image` enlarged `factor` times, at least one pixel each."""
    check_outscale(factor)
    return max(1, round(image.shape[0] * factor)), max(1, round(image.shape[1] * factor))


def check_outscale(factor: float | None) -> None:
    """Raises `OptionError` unless `factor` is None or in (0, 64]."""
    if factor is not None and not 0 < factor <= 64:
        raise OptionError(f'outscale is {factor}, expected a positive number up to 64.')


def fitting_overlap(tile: int, overlap: int) -> int:
    """`overlap`, reduced to a fifth of the tile's side where it is more than that.

    >>> fitting_overlap(100, 24), fitting_overlap(512, 24), fitting_overlap(0, 24)
    (20, 24, 24)
    """
    return min(overlap, tile // 5) if tile else overlap


def check_tile(tile: int, overlap: int) -> None:
    """Raises `OptionError` if a tile of this side is too small for the overlap."""
    least = 2 * shared_by_tiles(overlap)
    if tile and tile < least:
        raise OptionError(f'tile is {tile}, expected at least {least} for an overlap of {overlap}, or 0 for no tiles.')


def shared_by_tiles(overlap: int) -> int:
    """Pixels that two neighbouring tiles share: the overlap of both, and the zone in which they are blended."""
    return 2 * overlap + mixed_by_tiles(overlap)


def mixed_by_tiles(overlap: int) -> int:
    """Width of the zone, in pixels, in which two neighbouring tiles are blended."""
    return max(1, overlap // 2)
