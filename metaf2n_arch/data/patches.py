"""Patches of images for data sets: cropping, flipping, rotating and downscaling."""

from __future__ import annotations

import numpy as np

from metaf2n_arch.images.arrays import gradient_energy

REDRAWS = 5
"""How often a flat patch is drawn again, as in the authors' program."""


def random_patch(image: np.ndarray, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Returns a random (height, width, C) patch of an (H, W, C) image, as a view."""
    y = int(rng.integers(image.shape[0] - height + 1))
    x = int(rng.integers(image.shape[1] - width + 1))
    return image[y : y + height, x : x + width]


def centre_patch(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns the central (height, width, C) patch of an (H, W, C) image, as a view."""
    y, x = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[y : y + height, x : x + width]


def draw_box(
    image: np.ndarray, size: int, step: int, min_energy: float | None, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Returns (y, x, size, size) of a random square that is not flat, on a grid of `step` pixels.

    A square with a `gradient_energy` below `min_energy` is drawn again, up to `REDRAWS` times; the last one is used.

    Args:
        image: (H, W, C) uint8 or uint16, at least `size` on each side.
        size: side of the square in pixels.
        step: y and x are multiples of it.
        min_energy: smallest gradient energy; None accepts any square.
        rng: random generator of the draw.
    """
    for _ in range(1 + REDRAWS):
        y = step * int(rng.integers((image.shape[0] - size) // step + 1))
        x = step * int(rng.integers((image.shape[1] - size) // step + 1))
        if min_energy is None or energy(image[y : y + size, x : x + size]) >= min_energy:
            break
    return y, x, size, size


def energy(patch: np.ndarray) -> float:
    """Returns the `gradient_energy` of a uint8 or uint16 image."""
    return gradient_energy(patch.astype(np.float32) / np.iinfo(patch.dtype).max)


def augment(image: np.ndarray, hflip: bool, rotate: bool, rng: np.random.Generator) -> np.ndarray:
    """Returns a view of an image (H, W, C), randomly flipped left to right, and rotated by a multiple of 90 degrees."""
    if hflip and rng.random() < 0.5:
        image = image[:, ::-1]
    return np.rot90(image, int(rng.integers(4))) if rotate else image


def shrink_square(image: np.ndarray, side: int) -> np.ndarray:
    """Returns a square image, downscaled to `side` by area averaging."""
    if image.shape[0] == side:
        return image
    import cv2

    return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
