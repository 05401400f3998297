"""Traits of a degraded photo, measured against a restoration of it: noise, sharpness, the shift of clipped tones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from metaf2n_arch.functional.gaussians import bands, low_pass, shrunk, white_noise, whole_scale

FINE = (0.7, 1.4)
"""σ of the Gaussians that end the two finest bands, in pixels of the photo: noise and blur show there."""

MOST_SAMPLES = 1 << 20
"""Most pixels that a quantile is computed from; of larger photos every n-th pixel is taken."""


@dataclass(frozen=True)
class Traits:
    """Noise and sharpness of each of B photos, as the colour fix reads them.

    Attributes:
        noise: standard deviation of the noise, (B, 1, 1, 1), see `noise_level`.
        sharpness: contrast in the two finest bands, against that of the restoration, (B, 2, 1, 1), see `sharpness`.
    """

    noise: Tensor
    sharpness: Tensor


@torch.no_grad()
def traits_of(small: Tensor, x: Tensor) -> Traits:
    """The traits of photos `x` (B, C, H, W); ``small = down(y)`` are their restorations, downscaled to that size."""
    return Traits(noise_level(small, x), sharpness(small, x))


@torch.no_grad()
def pooled_traits(y: Tensor, x: Tensor) -> Traits:
    """The traits of one photo of which `x` (N, C, h, w) are patches and `y` (N, C, s·h, s·w) their restorations.

    The noise is the lower quartile over the patches: in patches full of detail, the detail that a restorer adds is
    mistaken for noise. The sharpness is that of all patches together.
    """
    small = shrunk(y, whole_scale(y, x))
    noise = noise_level(small, x).flatten().quantile(0.25).view(1, 1, 1, 1)
    return Traits(noise, _ratio(*(products.sum(0, keepdim=True) for products in _products(small, x))))


@torch.no_grad()
def noise_level(small: Tensor, x: Tensor) -> Tensor:
    """Standard deviation of the noise in `x`, (B, 1, 1, 1) in [0, 1], if `small` has none.

    The difference x - small is the noise and the detail that a restorer has added. Only the 30 % of pixels around which
    `small` has least detail count. Each of the two finest bands gives an estimate: its absolute value (mean over
    channels, median over pixels), divided by the mean absolute value of white noise of standard deviation 1. The larger
    estimate is returned, because noise that was enlarged or compressed with the photo is weak in the finest band.

    >>> x = 0.5 + 0.1 * torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    >>> 0.09 < noise_level(torch.full_like(x, 0.5), x).item() < 0.11
    True
    """
    detail = low_pass((small - low_pass(small, FINE[0])).abs().mean(1, keepdim=True), 2.0).flatten(1)
    step = -(-detail.shape[1] // MOST_SAMPLES)
    detail = detail[:, ::step]
    calm = detail <= detail.float().quantile(0.3, dim=1, keepdim=True).to(detail)
    levels = []
    for band, white in zip(bands(x - small, FINE), (white_noise(None, FINE[0]), white_noise(*FINE))):
        size = band.abs().mean(1).flatten(1)[:, ::step]
        levels.append(size.masked_fill(~calm, math.nan).nanmedian(1).values / white)
    return torch.stack(levels).amax(0).view(-1, 1, 1, 1)


@torch.no_grad()
def sharpness(small: Tensor, x: Tensor) -> Tensor:
    """Contrast of `x` relative to that of `small` in the two finest bands, (B, 2, 1, 1) in [0, 1]; 1 is as sharp.

    A blurred photo shows the same detail with less contrast, ``x_b = c_b small_b + ...``. Least squares find c_b =
    ``<x_b, small_b> / <small_b, small_b>``; noise in x does not change its mean.

    >>> small = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    >>> [round(beta, 3) for beta in sharpness(small, 0.5 + 0.25 * (small - 0.5)).flatten().tolist()]
    [0.25, 0.25]
    """
    return _ratio(*_products(small, x))


def _products(small: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """<x_b, small_b> and <small_b, small_b> of each image and fine band, (B, 2) each."""
    pairs = list(zip(bands(x, FINE), bands(small, FINE)))[: len(FINE)]
    both = [(fine * sharp).flatten(1).sum(1) for fine, sharp in pairs]
    own = [sharp.square().flatten(1).sum(1) for _, sharp in pairs]
    return torch.stack(both, 1), torch.stack(own, 1)


def _ratio(both: Tensor, own: Tensor) -> Tensor:
    """c_b from the sums of `_products`; 1 where a restoration has no detail that blur could have weakened."""
    found = torch.where(own > 0, both / own.clamp_min(torch.finfo(own.dtype).tiny), torch.ones_like(own))
    return found.clamp(0, 1)[:, :, None, None]


@torch.no_grad()
def clipping_shift(tone: Tensor, noise: Tensor) -> Tensor:
    """Returns how much brighter than the truth a mean `tone` is, because its noise was clipped at black; any shape.

    Noise of standard deviation σ around a true tone μ, clipped below 0, has the mean ``m = μ Φ(μ/σ) + σ φ(μ/σ)`` (a
    clipped normal distribution). Newton's method solves this for μ >= 0. It starts at ``μ = m`` and falls to the root,
    because m(μ) is convex and rises with slope Φ. A mean below ``σ φ(0)``, impossible for any μ >= 0, counts as black.

    Args:
        tone: observed means m, in [0, 1].
        noise: σ when the noise was clipped, in [0, 1]; broadcasts.

    Returns:
        m - μ >= 0. For noise clipped at white give ``1 - tone``: the tone is then so much darker than the truth.

    >>> tone = torch.tensor([0.0399, 0.2])  # of black, and of a tone that noise of 0.1 seldom takes to black
    >>> [round(shift, 3) for shift in clipping_shift(tone, torch.tensor(0.1)).tolist()]
    [0.04, 0.001]
    """
    noise = noise.clamp_min(1e-4)
    mean = tone.clamp_min(0) / noise
    truth = mean
    for _ in range(5):
        slope = torch.special.ndtr(truth)
        density = torch.exp(-truth.square() / 2) / math.sqrt(2 * math.pi)
        truth = (truth - (truth * slope + density - mean) / slope).clamp_min(0)
    return (mean - truth) * noise
