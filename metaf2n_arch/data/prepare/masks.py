"""Edge masks of the self-similarity loss, computed once instead of at each step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metaf2n_arch.data.prepare.driver import read_or_unfit, require_side, save, stem


def mask_image(image: np.ndarray, threshold: int = 20, stride: int = 1) -> np.ndarray:
    """Returns the mask of `functional.edges.edge_mask` as (H, W) uint8: 255 on an edge, 0 elsewhere.

    It uses the same integer arithmetic in NumPy, because loading torch in each process takes longer than most folders
    of images.

    Args:
        image: (H, W, 3) uint8 RGB.
        threshold: response of the Laplacian, in 8-bit levels, that an edge pixel must exceed.
        stride: thins the mask, see `thin_mask`.
    """
    red, green, blue = np.moveaxis(image.astype(np.int32), -1, 0)
    y = np.pad((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16, 1, mode='reflect')
    neighbours = y[:-2, 1:-1] + y[2:, 1:-1] + y[1:-1, :-2] + y[1:-1, 2:]
    mask = (neighbours - 4 * y[1:-1, 1:-1]).clip(0, 255) > threshold
    rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
    return np.where(mask & (rows % stride == columns % stride), 255, 0).astype(np.uint8)


@dataclass(frozen=True)
class Masks:
    """Writes the edge mask of each image as an 8-bit PNG of the same name."""

    source: Path
    out: Path
    threshold: int = 20
    stride: int = 1
    command: str = 'masks'

    def settings(self) -> dict[str, Any]:
        return {'threshold': self.threshold, 'stride': self.stride}

    def check(self, name: str) -> None:
        require_side(self.source / name, 1)

    def __call__(self, name: str) -> list[str]:
        image = read_or_unfit(self.source / name)
        return [save(self.out, f'{stem(name)}.png', mask_image(image, self.threshold, self.stride))]
