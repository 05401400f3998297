"""Sizes of results and of tiles: checked before anything is loaded, so without torch."""

from __future__ import annotations

import numpy as np

from metaf2n_arch.utils.checks import OptionError


def output_size(image: np.ndarray, factor: float) -> tuple[int, int]:
    """Height and width of `image` enlarged `factor` times, at least one pixel each."""
    check_outscale(factor)
    return max(1, round(image.shape[0] * factor)), max(1, round(image.shape[1] * factor))


def check_outscale(factor: float | None) -> None:
    """Raises `OptionError` unless `factor` is a size, or None."""
    if factor is not None and not 0 < factor <= 64:
        raise OptionError(f'outscale is {factor}, expected a positive number up to 64.')


def fitting_overlap(tile: int, overlap: int) -> int:
    """`overlap`, or as much of it as a tile of this side has room for.

    >>> fitting_overlap(100, 24), fitting_overlap(512, 24), fitting_overlap(0, 24)
    (20, 24, 24)
    """
    return min(overlap, tile // 5) if tile else overlap


def check_tile(tile: int, overlap: int) -> None:
    """Raises `OptionError` unless a tile of this side has something left inside its surroundings."""
    least = 2 * shared_by_tiles(overlap)
    if tile and tile < least:
        raise OptionError(f'tile is {tile}, expected at least {least} for an overlap of {overlap}, or 0 for no tiles.')


def shared_by_tiles(overlap: int) -> int:
    """Pixels that two neighbours share: the surroundings of both, and the zone in which they are mixed."""
    return 2 * overlap + mixed_by_tiles(overlap)


def mixed_by_tiles(overlap: int) -> int:
    """Pixels over which two neighbours pass into each other."""
    return max(1, overlap // 2)
