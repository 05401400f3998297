"""Frequency bands: images split into a low and a high band.

A cutoff is a fraction of the Nyquist frequency: 1 is half a cycle per pixel, ω_c = π · cutoff in radians per pixel.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from metaf2n_arch.functional.spectrum import frequency_radius


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def sinc_kernel(size: int, cutoff: float, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Returns a circular low-pass kernel (size, size) that sums to 1; `size` is odd.

    k(i, j) = ω_c / (2π r) · J₁(ω_c r), r = sqrt(i² + j²), k(0, 0) = ω_c² / 4π: the impulse response of an ideal filter
    that keeps the disc of radius ω_c = π · cutoff, truncated to the kernel's size. J₁ is the Bessel function.

    >>> sinc_kernel(3, 0.5, torch.device('cpu'), torch.float64).round(decimals=3)
    tensor([[0.0850, 0.1230, 0.0850],
            [0.1230, 0.1700, 0.1230],
            [0.0850, 0.1230, 0.0850]], dtype=torch.float64)
    """
    omega = math.pi * cutoff
    offset = torch.arange(size, dtype=torch.float64) - size // 2
    radius = torch.hypot(offset[:, None], offset[None, :])
    kernel = omega * torch.special.bessel_j1(omega * radius) / (2 * math.pi * radius)
    kernel[size // 2, size // 2] = omega**2 / (4 * math.pi)
    return (kernel / kernel.sum()).to(device, dtype)


def sinc_low_pass(x: Tensor, cutoff: float, size: int = 21) -> Tensor:
    """Returns the low band of images (B, C, H, W), filtered by `sinc_kernel` with reflected borders.

    Raises:
        ValueError: if H or W is `size` // 2 or less.
    """
    half = size // 2
    if min(x.shape[-2:]) <= half:
        sides = tuple(x.shape[-2:])
        raise ValueError(f'A kernel of {size}x{size} needs images of {half + 1}x{half + 1} or more, got {sides}.')
    channels = x.shape[1]
    kernel = sinc_kernel(size, cutoff, x.device, x.dtype).expand(channels, 1, size, size)
    return F.conv2d(F.pad(x, (half, half, half, half), mode='reflect'), kernel, groups=channels)


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def radial_mask(height: int, width: int, cutoff: float, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Returns a mask of the half-plane of `rfft2`, (H, W // 2 + 1): 1 in the disc of radius `cutoff`, else 0."""
    return (frequency_radius(height, width) < cutoff / 2).to(device, dtype)


def ideal_low_pass(x: Tensor, cutoff: float) -> Tensor:
    """Returns the low band of images (..., H, W): every frequency inside the disc, none outside, periodic borders."""
    height, width = x.shape[-2:]
    mask = radial_mask(height, width, cutoff, x.device, x.dtype)
    return torch.fft.irfft2(torch.fft.rfft2(x) * mask, s=(height, width))


def swap_high_band(x: Tensor, source: Tensor, cutoff: float) -> Tensor:
    """Returns images with the low band of `x` and the high band of `source`, split as `ideal_low_pass` does.

    >>> x = torch.rand(1, 3, 8, 8)
    >>> torch.allclose(swap_high_band(x, x, 0.5), x, atol=1e-6)
    True
    """
    return source + ideal_low_pass(x - source, cutoff)
