"""Square crops of natural images on a grid, without flat ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metaf2n_arch.data.prepare.driver import Unfit, read_or_unfit, require_side, save, stem
from metaf2n_arch.images.arrays import gradient_energy

SIZE, STRIDE, MIN_ENERGY = 400, 200, -6.0


def grid(height: int, width: int, size: int = SIZE, stride: int = STRIDE) -> list[tuple[int, int]]:
    """Returns the upper left corners (y, x) of all crops, row by row: on the grid, and at the right and lower borders.

    >>> grid(600, 810)
    [(0, 0), (0, 200), (0, 400), (0, 410), (200, 0), (200, 200), (200, 400), (200, 410)]
    """
    return [(y, x) for y in _starts(height, size, stride) for x in _starts(width, size, stride)]


def _starts(length: int, size: int, stride: int) -> list[int]:
    """Start positions of crops along one axis; the last crop ends at the border, so that all pixels are covered."""
    starts = list(range(0, length - size + 1, stride))
    return starts if not starts or starts[-1] == length - size else [*starts, length - size]


def crops(
    image: np.ndarray, size: int = SIZE, stride: int = STRIDE, min_energy: float | None = MIN_ENERGY
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields (number, view) of each crop of the grid with a gradient energy of at least `min_energy`.

    The number is the position in the whole grid, from 1, so that it does not depend on `min_energy`.

    Args:
        image: (H, W, 3) uint8.
        size: side of the crops in pixels.
        stride: distance of two crops in pixels.
        min_energy: smallest `gradient_energy`; None keeps all crops.
    """
    height, width = image.shape[:2]
    for number, (y, x) in enumerate(grid(height, width, size, stride), start=1):
        crop = image[y : y + size, x : x + size]
        if min_energy is None or gradient_energy(crop.astype(np.float32) / 255) >= min_energy:
            yield number, crop


@dataclass(frozen=True)
class Crops:
    """Writes the crops of each image as ``<name>_s001.png``, ``<name>_s002.png`` and so on.

    The defaults are those of the authors (Yin et al., ICCV 2023): 400 x 400 pixels with a stride of 200, and a log mean
    squared gradient of at least -6. If the grid does not reach the border of the image, one more row or column of crops
    covers the margin.
    """

    source: Path
    out: Path
    size: int = SIZE
    stride: int = STRIDE
    min_energy: float | None = MIN_ENERGY
    command: str = 'crops'

    def settings(self) -> dict[str, Any]:
        return {'size': self.size, 'stride': self.stride, 'min_energy': self.min_energy, 'margins': True}

    def check(self, name: str) -> None:
        require_side(self.source / name, self.size)

    def __call__(self, name: str) -> list[str]:
        self.check(name)
        image = read_or_unfit(self.source / name)
        kept = crops(image, self.size, self.stride, self.min_energy)
        files = [save(self.out, f'{stem(name)}_s{number:03d}.png', crop) for number, crop in kept]
        if not files:
            raise Unfit(f'{self.source / name} has no crop with a gradient energy of {self.min_energy} or more.')
        return files
