"""Multi-scale copies: the images of a folder at several smaller sizes, as Real-ESRGAN prepares DF2K."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metaf2n_arch.data.prepare.driver import read_or_unfit, require_side, save, stem

SCALES = (0.75, 0.5, 1 / 3)
SHORTEST = 400


def scaled_sizes(
    height: int, width: int, scales: Sequence[float] = SCALES, shortest: int | None = SHORTEST
) -> list[tuple[int, int] | None]:
    """Returns (height, width) for each scale, and for a shorter side of `shortest`; None if that would upscale.

    >>> scaled_sizes(900, 1200)
    [(675, 900), (450, 600), (300, 400), (400, 533)]
    >>> scaled_sizes(300, 400)[-1] is None
    True
    """
    sizes: list[tuple[int, int] | None] = []
    for scale in scales:
        smaller = int(height * scale + 1e-9), int(width * scale + 1e-9)
        sizes.append(smaller if scale < 1 and min(smaller) >= 1 else None)
    if shortest is not None:
        side = min(height, width)
        sizes.append((height * shortest // side, width * shortest // side) if side > shortest else None)
    return sizes


def shrink(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns an (H, W, 3) uint8 image, downscaled by Pillow's Lanczos filter, which antialiases."""
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


@dataclass(frozen=True)
class Multiscale:
    """Writes each image at the sizes of `scaled_sizes` as ``<name>T0.png``, ``<name>T1.png`` and so on.

    As Real-ESRGAN (Wang et al. 2021), whose program also upscales images with a shorter side below 400; here that size
    is left out instead. With `original` the image itself is written too, as ``<name>.png``.
    """

    source: Path
    out: Path
    scales: tuple[float, ...] = SCALES
    shortest: int | None = SHORTEST
    original: bool = False
    command: str = 'multiscale'

    def settings(self) -> dict[str, Any]:
        return {'scales': self.scales, 'shortest': self.shortest, 'original': self.original}

    def check(self, name: str) -> None:
        require_side(self.source / name, 2)

    def __call__(self, name: str) -> list[str]:
        self.check(name)
        image = read_or_unfit(self.source / name)
        files = [save(self.out, f'{stem(name)}.png', image)] if self.original else []
        height, width = image.shape[:2]
        for number, size in enumerate(scaled_sizes(height, width, self.scales, self.shortest)):
            if size is not None:
                files.append(save(self.out, f'{stem(name)}T{number}.png', shrink(image, *size)))
        return files
