"""Rows of pictures: the whole truth with a marked square, then this square of the input and of each output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from metaf2n_arch.images.arrays import gradient_energy
from metaf2n_arch.images.reading import read_8bit
from metaf2n_arch.report.figures import Panel

MARK = np.array([0, 235, 255], np.uint8)


def liveliest_window(image: np.ndarray, side: int, multiple: int = 1) -> tuple[int, int]:
    """Returns (y, x) of the square of side `side` with the highest gradient energy, among positions half a side apart.

    Args:
        image: (H, W, 3) uint8.
        side: side of the square, at most the shorter side of the image.
        multiple: y and x are multiples of it, so that the square covers whole pixels of the low-quality image.
    """
    step = max(multiple, side // 2 // multiple * multiple)
    places = [
        (y, x) for y in range(0, image.shape[0] - side + 1, step) for x in range(0, image.shape[1] - side + 1, step)
    ]

    def energy(place: tuple[int, int]) -> float:
        y, x = place
        return gradient_energy(image[y : y + side, x : x + side].astype(np.float32) / 255)

    return max(places, key=energy)


def picture_row(
    lq: Path | None, outputs: Mapping[str, tuple[Path, str]], gt: Path | None, scale: int, window: int = 192
) -> list[Panel]:
    """Returns the row whole | LQ | outputs | GT, all but the first cropped to the square of `liveliest_window`.

    Args:
        lq: low-quality image, enlarged by nearest neighbour; None leaves it out.
        outputs: title -> file and caption.
        gt: the truth; None shows the first output as the whole.
        scale: side of the truth divided by the side of the low-quality image.
        window: side of the square, in pixels of the truth.
    """
    whole = read_8bit(gt if gt is not None else next(iter(outputs.values()))[0])
    side = min(window, *whole.shape[:2]) // scale * scale
    y, x = liveliest_window(whole, side, scale)
    panels = [Panel(on_square(marked(whole, y, x, side)), 'GT, whole' if gt is not None else 'whole')]
    if lq is not None:
        enlarged = read_8bit(lq).repeat(scale, 0).repeat(scale, 1)
        panels.append(Panel(enlarged[y : y + side, x : x + side], 'LQ'))
    for title, (path, caption) in outputs.items():
        panels.append(Panel(read_8bit(path)[y : y + side, x : x + side], title, caption))
    if gt is not None:
        panels.append(Panel(whole[y : y + side, x : x + side], 'GT'))
    return panels


def marked(image: np.ndarray, y: int, x: int, side: int) -> np.ndarray:
    """Returns a copy of a (H, W, 3) uint8 image with a frame along the border of a square."""
    image = image.copy()
    width = max(2, max(image.shape[:2]) // 100)
    for place in (
        np.s_[y : y + side, x : x + width],
        np.s_[y : y + side, x + side - width : x + side],
        np.s_[y : y + width, x : x + side],
        np.s_[y + side - width : y + side, x : x + side],
    ):
        image[place] = MARK
    return image


def on_square(image: np.ndarray, longest: int = 640) -> np.ndarray:
    """Returns an image (H, W, 3) uint8, its longer side shrunk to at most `longest`, padded with white to a square."""
    import cv2

    height, width = image.shape[:2]
    if max(height, width) > longest:
        factor = longest / max(height, width)
        shape = max(1, round(width * factor)), max(1, round(height * factor))
        image = cv2.resize(image, shape, interpolation=cv2.INTER_AREA)
        height, width = image.shape[:2]
    side = max(height, width)
    square = np.full((side, side, 3), 255, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = image
    return square


def spread(names: Sequence[str], count: int) -> list[str]:
    """Returns up to `count` names, evenly spaced over all, so that no image is chosen by its content.

    >>> spread(['a', 'b', 'c', 'd', 'e'], 3)
    ['a', 'c', 'e']
    """
    if count < 1 or count >= len(names):
        return list(names) if count >= 1 else []
    places = np.linspace(0, len(names) - 1, count).round().astype(int) if count > 1 else np.array([0])
    return [names[i] for i in places]
