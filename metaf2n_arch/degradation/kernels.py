"""Blur kernels: normalised (side, side) float64 arrays, odd sides, first axis y, second axis x.

Gaussian, generalized Gaussian and plateau kernels are functions of the Mahalanobis distance
``m = v^T S^-1 v`` with ``S = R(theta) diag(sigma_x², sigma_y²) R(theta)^T`` (Wang et al. 2021, Real-ESRGAN).
"""

from __future__ import annotations

import math

import numpy as np
import torch


def _offsets(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the (y, x) distance of every tap from the centre."""
    if side < 1 or side % 2 == 0:
        raise ValueError(f'kernel side is {side}, expected an odd positive number.')
    axis = np.arange(side, dtype=np.float64) - side // 2
    return axis[:, None] * np.ones(side), np.ones((side, 1)) * axis


def _mahalanobis(side: int, sigma_x: float, sigma_y: float, theta: float) -> np.ndarray:
    y, x = _offsets(side)
    along = math.cos(theta) * x + math.sin(theta) * y
    across = -math.sin(theta) * x + math.cos(theta) * y
    return (along / sigma_x) ** 2 + (across / sigma_y) ** 2


def _normalised(kernel: np.ndarray) -> np.ndarray:
    return kernel / kernel.sum()


def gaussian(side: int, sigma_x: float, sigma_y: float | None = None, theta: float = 0.0) -> np.ndarray:
    """Returns the Gaussian ``exp(-m/2)``; isotropic when `sigma_y` is left out.

    >>> round(float(gaussian(3, 1.0)[1, 1]), 4)
    0.2042
    """
    return generalized_gaussian(side, 1.0, sigma_x, sigma_y, theta)


def generalized_gaussian(
    side: int, beta: float, sigma_x: float, sigma_y: float | None = None, theta: float = 0.0
) -> np.ndarray:
    """Returns ``exp(-m^beta / 2)`` (Pascal et al. 2013); `beta` 1 is the Gaussian, below 1 has heavier tails."""
    m = _mahalanobis(side, sigma_x, sigma_x if sigma_y is None else sigma_y, theta)
    return _normalised(np.exp(-0.5 * m**beta))


def plateau(side: int, beta: float, sigma_x: float, sigma_y: float | None = None, theta: float = 0.0) -> np.ndarray:
    """Returns ``1 / (1 + m^beta)``, flat in the middle for a large `beta`."""
    m = _mahalanobis(side, sigma_x, sigma_x if sigma_y is None else sigma_y, theta)
    return _normalised(1.0 / (1.0 + m**beta))


def sinc(side: int, cutoff: float) -> np.ndarray:
    """Returns the circular low-pass filter ``w J1(w r) / (2 pi r)``, `cutoff` w in (0, pi] radians per pixel.

    Negative lobes are kept, because they cause the ringing. torch's Bessel function is exact to about 1e-8, the
    precision of float32 kernels.
    """
    y, x = _offsets(side)
    r = np.hypot(y, x)
    centre = r == 0
    safe = np.where(centre, 1.0, r)
    bessel = torch.special.bessel_j1(torch.from_numpy(cutoff * safe)).numpy()
    return _normalised(np.where(centre, cutoff**2 / (4 * math.pi), cutoff * bessel / (2 * math.pi * safe)))


def motion(side: int, length: float, theta: float) -> np.ndarray:
    """Returns the blur of a straight, uniform camera motion of `length` pixels in direction `theta`, in radians.

    The line is sampled 16 times per pixel, and each sample is distributed bilinearly to four pixels.
    """
    kernel = np.zeros((side, side))
    steps = np.linspace(-0.5, 0.5, max(2, int(16 * length) + 1)) * min(length, side - 1)
    y, x = steps * math.sin(theta) + side // 2, steps * math.cos(theta) + side // 2
    y0, x0 = np.floor(y).astype(int), np.floor(x).astype(int)
    for dy in (0, 1):
        for dx in (0, 1):
            weight = np.abs(1 - dy - (y - y0)) * np.abs(1 - dx - (x - x0))
            np.add.at(kernel, (np.minimum(y0 + dy, side - 1), np.minimum(x0 + dx, side - 1)), weight)
    return _normalised(kernel)


def defocus(side: int, radius: float) -> np.ndarray:
    """Returns a uniform disk of `radius` pixels with an anti-aliased edge: the blur of a lens out of focus."""
    y, x = _offsets(side)
    return _normalised(np.clip(radius + 0.5 - np.hypot(y, x), 0.0, 1.0))


def identity(side: int) -> np.ndarray:
    """Returns the kernel that changes nothing."""
    kernel = np.zeros((side, side))
    kernel[side // 2, side // 2] = 1.0
    return kernel


def pad_kernel(kernel: np.ndarray, side: int) -> np.ndarray:
    """Returns `kernel` with zeros around it, (side, side)."""
    margin = (side - kernel.shape[0]) // 2
    return np.pad(kernel, margin)
