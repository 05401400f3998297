"""Kinds of image arrays (grey or RGB, with or without alpha, 8 or 16 bits or floats): to RGB, and back to the kind."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from metaf2n_arch.images.alpha import bleed
from metaf2n_arch.images.arrays import to_tensor
from metaf2n_arch.images.luminance import luminance
from metaf2n_arch.images.resize import resized_rows


def as_rgb(image: np.ndarray) -> np.ndarray:
    """The colours of an image as (H, W, 3): uint8, uint16, or float32 clamped to [0, 1].

    Pixels with alpha 0 get the colours of visible pixels near them, see `bleed`.

    Args:
        image: (H, W) or (H, W, 1) grey, (H, W, 3) RGB; with alpha (H, W, 2) or (H, W, 4). uint8, uint16, or floats.

    Raises:
        ValueError: another shape or dtype, or values that are not finite.
    """
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.ndim not in (2, 3) or channels > 4 or 0 in image.shape:
        raise ValueError(f'image has shape {image.shape}, expected (H, W), (H, W, 2), (H, W, 3) or (H, W, 4).')
    if image.dtype not in (np.uint8, np.uint16) and image.dtype.kind != 'f':
        raise ValueError(f'image has {image.dtype} values, expected uint8, uint16, or floats in [0, 1].')
    if image.dtype.kind == 'f' and not np.isfinite(image).all():
        raise ValueError('image holds values that are not finite, expected floats in [0, 1].')
    if channels >= 3:
        colours = image[..., :3]
    else:
        colours = np.repeat(image[..., :1] if image.ndim == 3 else image[..., None], 3, axis=2)
    colours = np.clip(colours, 0, 1).astype(np.float32) if image.dtype.kind == 'f' else colours
    if channels in (2, 4):
        colours = bleed(colours, image[..., -1])
    return np.ascontiguousarray(colours)


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """(1, C, H, W) images in [0, 1], resized to (height, width): bicubic, antialiased when shrinking."""
    if tuple(images.shape[-2:]) == size:
        return images
    return F.interpolate(images, size=size, mode='bicubic', align_corners=False, antialias=True).clamp(0, 1)


def like_input(result: Tensor, image: np.ndarray, first: int = 0, height: int | None = None) -> np.ndarray:
    """A restored photo, or a strip of it, as the same kind of array as `image`; the alpha of `image` is enlarged.

    Args:
        result: (1, 3, h', W) RGB in [0, 1].
        image: (h, w) or (h, w, C) with 1 to 4 channels; channels 2 and 4 are alpha.
        first: first row of `result` in the restored photo.
        height: of the whole restored photo; that of `result` if not given.

    Returns:
        (h', W) or (h', W, C), of the dtype of `image`.
    """
    channels = image.shape[2] if image.ndim == 3 else 1
    colours = result[0] if channels >= 3 else luminance(result)[0]
    if channels in (2, 4):
        alpha = to_tensor(np.ascontiguousarray(image[..., -1:]))[None].to(colours)
        rows, width = result.shape[-2:]
        size = (rows if height is None else height, width)
        colours = torch.cat([colours, resized_rows(alpha, size, first, first + rows)[0]])
    array = colours.permute(1, 2, 0).cpu().numpy()
    if image.dtype.kind == 'u':
        array = np.round(array * np.iinfo(image.dtype).max)
    array = np.ascontiguousarray(array.astype(image.dtype))
    return array[..., 0] if image.ndim == 2 else array
