"""Baseline JPEG of an image batch: compression and decompression on any device, without a file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

# ITU-T T.81, annex K: tables K.1 (luminance) and K.2 (chrominance).
_LUMA = [
    [16, 11, 10, 16, 24, 40, 51, 61],
    [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77],
    [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101],
    [72, 92, 95, 98, 112, 100, 103, 99],
]
_CHROMA = [
    [17, 18, 24, 47, 99, 99, 99, 99],
    [18, 21, 26, 66, 99, 99, 99, 99],
    [24, 26, 56, 99, 99, 99, 99, 99],
    [47, 66, 99, 99, 99, 99, 99, 99],
    *[[99] * 8] * 4,
]
# JFIF: BT.601 in its full range. Blue and red differences have 128 added.
_TO_LUMA = 0.299, 0.587, 0.114
_TO_BLUE = -0.168735892, -0.331264108, 0.5
_TO_RED = 0.5, -0.418687589, -0.081312411


def quantisation_table(quality: int, chroma: bool = False) -> Tensor:
    """Returns the (8, 8) float32 table that libjpeg uses at `quality` 1-100.

    ``clamp(floor((base · f + 50) / 100), 1, 255)`` with ``f = 5000 // q`` below 50, else ``200 - 2 q``.

    >>> quantisation_table(50)[0, :3].tolist()
    [16.0, 11.0, 10.0]
    """
    if not 1 <= quality <= 100:
        raise ValueError(f'JPEG quality is {quality}, expected 1 to 100.')
    factor = 5000 // int(quality) if quality < 50 else 200 - 2 * int(quality)
    base = torch.tensor(_CHROMA if chroma else _LUMA)
    return ((base * factor + 50) // 100).clamp(1, 255).float()


@lru_cache(maxsize=8)
def _dct_basis(device: torch.device) -> Tensor:
    """Returns the orthonormal 8x8 type-II DCT as a (64, 64) matrix acting on flattened blocks."""
    k = torch.arange(8, dtype=torch.float64)
    rows = torch.cos((2 * k[None, :] + 1) * k[:, None] * math.pi / 16) * 0.5
    rows[0] = math.sqrt(1 / 8)
    return torch.kron(rows, rows).float().to(device)


def _in_units(planes: Tensor) -> Tensor:
    """The planes with their last rows and columns repeated up to whole units of 16 x 16."""
    right, below = -planes.shape[-1] % 16, -planes.shape[-2] % 16
    return F.pad(planes, (0, right, 0, below), mode='replicate') if right or below else planes


def _quantise(plane: Tensor, table: Tensor) -> Tensor:
    """Returns (N, C, H, W) planes of 0..255, H and W multiples of 8, after DCT, quantisation and their inverses.

    The planes are overwritten.
    """
    n, c, height, width = plane.shape
    basis = _dct_basis(plane.device)
    table = table.to(plane.device).reshape(64)
    blocks = plane.sub_(128).reshape(n, c, height // 8, 8, width // 8, 8).transpose(3, 4).reshape(-1, 64)
    coefficients = (blocks @ basis.T).div_(table).round_().mul_(table)
    blocks = (coefficients @ basis).reshape(n, c, height // 8, width // 8, 8, 8).transpose(3, 4)
    return blocks.reshape(n, c, height, width).add_(128).round_().clamp_(0, 255)


def _mixed(channels: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The weighted sum of some planes, in their order, in one piece of memory."""
    total = weights[0] * channels[0]
    for channel, weight in zip(channels[1:], weights[1:]):
        total += weight * channel
    return total


def jpeg(images: Tensor, quality: int) -> Tensor:
    """Returns the images after baseline JPEG compression with 4:2:0 chroma, decoded as by libjpeg's default decoder.

    Follows libjpeg's steps: 8-bit input, JFIF YCbCr (BT.601, full range) rounded to integers, sides padded to whole
    16x16 units by repeating the edge, chroma averaged over 2x2, DCT and quantisation in 8x8 blocks, chroma enlarged
    with the triangle filter, rounded RGB. It differs from libjpeg by single grey levels (its integer transforms).

    Args:
        images: (N, 3, H, W) RGB in [0, 1], float32, any size, any device.
        quality: 1 to 100; one for all images.

    Returns:
        (N, 3, H, W) in [0, 1], whole multiples of 1/255.

    Raises:
        ValueError: `quality` is out of range.

    >>> jpeg(torch.full((1, 3, 5, 7), 128 / 255), 75).mul(255).unique()
    tensor([128.])
    """
    height, width = images.shape[-2:]
    rgb = images.clamp(0, 1).mul_(255).round_().unbind(1)
    luma = _in_units(_mixed(rgb, _TO_LUMA)[:, None].round_())
    chroma = _in_units(torch.stack([_mixed(rgb, _TO_BLUE), _mixed(rgb, _TO_RED)], 1).add_(128).round_())

    luma = _quantise(luma, quantisation_table(quality))[:, 0, :height, :width]
    # libjpeg rounds averages of four pixels alternately down and up along a row. These sums are exact.
    rows = chroma[:, :, ::2] + chroma[:, :, 1::2]
    bias = torch.tensor([1.0, 2.0], device=images.device).repeat(rows.shape[-1] // 4)
    chroma = (rows[..., ::2] + rows[..., 1::2]).add_(bias).div_(4).floor_()
    chroma = _quantise(chroma, quantisation_table(quality, chroma=True))
    chroma = chroma[:, :, : (height + 1) // 2, : (width + 1) // 2]
    chroma = F.interpolate(chroma, scale_factor=2, mode='bilinear', align_corners=False)[:, :, :height, :width]
    blue, red = chroma.round_().sub_(128).unbind(1)

    green = _mixed((luma, blue, red), (1.0, -0.344136286, -0.714136286))
    shown = torch.stack([luma + 1.402 * red, green, luma + 1.772 * blue], 1)
    return shown.round_().clamp_(0, 255).div_(255)
