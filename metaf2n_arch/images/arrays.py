"""Images as arrays and tensors: conversion, bicubic enlargement, padding. Tensors are RGB in [0, 1], (B, 3, H, W)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # reading and writing files works without torch
    from torch import Tensor


def to_tensor(image: np.ndarray) -> Tensor:
    """Returns an (H, W, 3) uint8, uint16 or float array as a (3, H, W) float32 tensor in [0, 1].

    >>> to_tensor(np.full((2, 3, 3), 255, np.uint8)).shape
    torch.Size([3, 2, 3])
    """
    scale = np.iinfo(image.dtype).max if np.issubdtype(image.dtype, np.integer) else 1
    channels_first = np.array(image.transpose(2, 0, 1), dtype=np.float32, order='C')  # always a copy
    channels_first /= np.float32(scale)  # in place: new memory costs more than the division
    import torch

    return torch.from_numpy(channels_first)


def to_8bit(image: np.ndarray) -> np.ndarray:
    """Returns a uint8 or uint16 array with 8 bits, rounded to the nearest: ``x · 255 / 65535``."""
    return image if image.dtype == np.uint8 else ((image.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def to_uint8(image: Tensor) -> np.ndarray:
    """Returns a (3, H, W) or (1, 3, H, W) tensor in [0, 1], rounded and clamped, as an (H, W, 3) uint8 array."""
    image = image[0] if image.ndim == 4 else image
    levels = (image.detach().float().cpu() * 255).round().clamp(0, 255)
    return levels.permute(1, 2, 0).contiguous().numpy().astype(np.uint8)


def bicubic_up(images: Tensor, scale: int) -> Tensor:
    """Returns (B, C, H, W) images enlarged `scale` times (half-pixel centres, a = -0.75), clamped to [0, 1]."""
    import torch.nn.functional as F

    return F.interpolate(images, scale_factor=scale, mode='bicubic', align_corners=False).clamp(0, 1)


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Returns (B, C, H, W) images padded at bottom and right to multiples of `multiple`.

    The padding reflects the image; where the image is too small for that, it repeats the edge.
    """
    height, width = images.shape[-2:]
    down, right = -height % multiple, -width % multiple
    mode = 'reflect' if down < height and right < width else 'replicate'
    import torch.nn.functional as F

    return F.pad(images, (0, right, 0, down), mode=mode) if down or right else images


def gradient_energy(image: np.ndarray) -> float:
    """Returns the log of the mean squared gradient, the MetaF2N authors' measure of texture in a patch.

    ``log mean((I[y,x] - I[y+1,x])² + (I[y,x] - I[y,x+1])²)`` over pixels and channels, I in [0, 1]. A flat patch has
    minus infinity. The authors draw patches below -6 again.

    Args:
        image: (H, W, C) float in [0, 1], at least 2x2.
    """
    corner = image[:-1, :-1]
    squares = (corner - image[1:, :-1]) ** 2 + (corner - image[:-1, 1:]) ** 2
    mean = float(squares.mean(dtype=np.float64))
    return float(np.log(mean)) if mean > 0 else -np.inf
