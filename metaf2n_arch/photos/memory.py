"""Out of memory: how to recognise it among errors, and which smaller tiles to try then."""

from __future__ import annotations

import torch

SMALLEST = 64
_SIGNS = ('out of memory', "can't allocate memory", 'cannot allocate memory', 'not enough memory')


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether an error means that the memory of the machine or of a GPU was not enough."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, (RuntimeError, OSError)) and any(sign in str(error).lower() for sign in _SIGNS)


def smaller_tiles(tile: int, shape: tuple[int, ...]) -> list[int | None]:
    """Tile sides to try one after the other: that of the options (None), then halves of it, at least `SMALLEST`.

    >>> smaller_tiles(512, (3000, 4000))
    [None, 256, 128, 64]
    >>> smaller_tiles(0, (300, 200))
    [None, 150, 75]
    """
    side = max(shape[:2]) if tile == 0 else min(tile, max(shape[:2]))
    tiles: list[int | None] = [None]
    while side // 2 >= SMALLEST:
        side //= 2
        tiles.append(side)
    return tiles
