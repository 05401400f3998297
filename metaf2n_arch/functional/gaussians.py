"""Gaussian low-pass filters of photos, and steps between a photo's size and that of its restoration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor


def low_pass(x: Tensor, sigma: float, weight: Tensor | None = None) -> Tensor:
    """Filters images (B, C, H, W) by a Gaussian of standard deviation `sigma` pixels.

    Images are reflected at the borders (edge pixel repeated). With a `weight` (B, 1, H, W) it is a normalised
    convolution, ``low(w x) / low(w)``; 0 where all weights nearby are 0.
    """
    if weight is None:
        return _blur(x, sigma)
    total = _blur(weight, sigma)
    return _blur(x * weight, sigma) / total.clamp_min(1e-6)


def bands(x: Tensor, sigmas: Sequence[float], weight: Tensor | None = None) -> list[Tensor]:
    """Splits images (B, C, H, W) into bands between Gaussians of rising `sigmas`, finest first; they sum to `x`.

    With a `weight` (see `low_pass`) the finest band is ``weight * (x - low)``, low the finest Gaussian: pixels of
    weight 0 have no detail.

    >>> x = torch.rand(1, 3, 9, 8)
    >>> len(bands(x, (1.0, 2.0))), torch.allclose(sum(bands(x, (1.0, 2.0))), x)
    (3, True)
    """
    levels = [low_pass(x, sigma, weight) for sigma in sigmas]
    finest = x - levels[0] if weight is None else weight * (x - levels[0])
    return [finest, *(fine - coarse for fine, coarse in pairwise(levels)), levels[-1]]


def whole_scale(y: Tensor, x: Tensor) -> int:
    """Returns the scale s, a whole number, of images `y` (..., s·H, s·W) and `x` (..., H, W).

    Raises:
        ValueError: if the sides of `y` are not the same whole multiple of those of `x`.
    """
    scale = max(1, y.shape[-1] // x.shape[-1])
    if tuple(y.shape[-2:]) != (x.shape[-2] * scale, x.shape[-1] * scale):
        (tall, wide), (height, width) = y.shape[-2:], x.shape[-2:]
        raise ValueError(f'y is {tall}x{wide}, expected the same whole multiple of both sides of x, {height}x{width}.')
    return scale


def shrunk(y: Tensor, scale: int) -> Tensor:
    """Downscales `y` by the mean over `scale` x `scale` pixels; `down` in equations."""
    return F.avg_pool2d(y, scale) if scale > 1 else y


def enlarged(x: Tensor, scale: int) -> Tensor:
    """Upscales `x` by bicubic interpolation (half-pixel centres, not clamped); `up` in equations."""
    return F.interpolate(x, scale_factor=scale, mode='bicubic', align_corners=False) if scale > 1 else x


def white_noise(inner: float | None, outer: float) -> float:
    """Returns the mean absolute value of white noise of standard deviation 1 in the band between two Gaussians.

    `inner` and `outer` are their standard deviations in pixels; with None for `inner` the band is all above `outer`.
    """

    def product(a: float | None, b: float | None) -> float:
        left, right = (tuple([1.0]) if s is None else _taps(s) for s in (a, b))
        short, long = sorted((left, right), key=len)
        start = (len(long) - len(short)) // 2
        return sum(p * q for p, q in zip(short, long[start:])) ** 2

    energy = product(inner, inner) - 2 * product(inner, outer) + product(outer, outer)
    return math.sqrt(2 / math.pi * energy)


@lru_cache(maxsize=32)
def _taps(sigma: float) -> tuple[float, ...]:
    """A Gaussian sampled over four standard deviations to each side, summing to 1."""
    reach = max(1, math.ceil(4 * sigma))
    taps = [math.exp(-((i / sigma) ** 2) / 2) for i in range(-reach, reach + 1)]
    return tuple(tap / sum(taps) for tap in taps)


def _blur(x: Tensor, sigma: float) -> Tensor:
    return filtered(filtered(x, _taps(sigma), -2), _taps(sigma), -1)


def filtered(x: Tensor, taps: Sequence[float], axis: int, holes: int = 1, reflect: bool = True) -> Tensor:
    """Filters along one axis, -2 or -1, with taps `holes` pixels apart (the dilation).

    Borders are reflected (edge pixel repeated), or the edge pixel is continued if `reflect` is False. Computed as a sum
    of shifted images, because a convolution of one channel is many times slower on CPUs.
    """
    length, reach = x.shape[axis], len(taps) // 2 * holes
    place = torch.arange(-reach, length + reach, device=x.device)
    if reflect:
        place = place % (2 * length)
        place = torch.where(place < length, place, 2 * length - 1 - place)
    padded = x.index_select(axis, place.clamp(0, length - 1))
    result = padded.narrow(axis, 0, length) * taps[0]
    for number, tap in enumerate(taps[1:], 1):
        result = torch.add(result, padded.narrow(axis, number * holes, length), alpha=tap)
    return result
