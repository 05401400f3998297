"""Mixing of two batches of images: convex combinations, pasted boxes, and the boxes themselves."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor
from torch.nn import functional as F


class Box(NamedTuple):
    """A rectangle of whole pixels."""

    top: int
    left: int
    height: int
    width: int

    def scaled(self, scale: int) -> Box:
        """The same rectangle of an image whose sides are `scale` times as long.

        >>> Box(1, 2, 3, 4).scaled(2)
        Box(top=2, left=4, height=6, width=8)
        """
        return Box(*(scale * value for value in self))


def draw_box(size: tuple[int, int], side: float, rng: np.random.Generator) -> Box:
    """Draws a box with the image's aspect ratio; each position inside the image is equally likely.

    Args:
        size: (H, W) of the image.
        side: sides of the box as a fraction of those of the image, 0..1; rounded to whole pixels.
        rng: source of the draw.

    >>> draw_box((8, 4), 0.5, np.random.default_rng(0))[2:]
    (4, 2)
    """
    height, width = (round(side * length) for length in size)
    return Box(int(rng.integers(size[0] - height + 1)), int(rng.integers(size[1] - width + 1)), height, width)


def blend(images: Tensor, others: Tensor, share: float) -> Tensor:
    """Returns λ x + (1 - λ) y, with λ = `share`, x the first and y the second images."""
    return share * images + (1 - share) * others


def paste(images: Tensor, others: Tensor, box: Box, outside: bool = False) -> Tensor:
    """Returns the first images with a box of the second, at the same place; everything but the box if `outside`.

    Args:
        images: (B, C, H, W).
        others: of the same shape.
        box: inside the images.
        outside: swap `images` and `others`.

    >>> import torch
    >>> paste(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2), Box(0, 1, 2, 1))[0, 0].tolist()
    [[0.0, 1.0], [0.0, 1.0]]
    """
    if outside:
        images, others = others, images
    rows, columns = slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)
    result = images.clone()
    result[..., rows, columns] = others[..., rows, columns]
    return result


def paste_resized(images: Tensor, others: Tensor, box: Box) -> Tensor:
    """Returns the first images with the second ones, downscaled as a whole (bicubic, antialiased), in the box."""
    if not box.height or not box.width:
        return images
    small = F.interpolate(others, size=(box.height, box.width), mode='bicubic', antialias=True).clamp(0, 1)
    result = images.clone()
    result[..., box.top : box.top + box.height, box.left : box.left + box.width] = small
    return result
