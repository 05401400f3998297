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
"""Pixels of which a quantile is taken; of larger photos every so manieth."""


@dataclass(frozen=True)
class Traits:
    """What the fix of tones wants to know about each of B photos.

    Attributes:
        noise: standard deviation of the noise, (B, 1, 1, 1), see `noise_level`.
        sharpness: contrast in the two finest bands, against that of the restoration, (B, 2, 1, 1), see `sharpness`.
    """

    noise: Tensor
    sharpness: Tensor


@torch.no_grad()
def traits_of(small: Tensor, x: Tensor) -> Traits:
    """The traits of photos `x`, (B, C, H, W), of which ``small = down(y)`` are restorations of the same size."""
    return Traits(noise_level(small, x), sharpness(small, x))


@torch.no_grad()
def pooled_traits(y: Tensor, x: Tensor) -> Traits:
    """The traits of one photo of which `x` (N, C, h, w) are patches and `y` (N, C, s·h, s·w) their restorations.

    Noise is the lower quartile of theirs: in patches full of detail what a restorer adds passes for noise. Sharpness is
    that of all patches together.
    """
    small = shrunk(y, whole_scale(y, x))
    noise = noise_level(small, x).flatten().quantile(0.25).view(1, 1, 1, 1)
    return Traits(noise, _ratio(*(products.sum(0, keepdim=True) for products in _products(small, x))))


@torch.no_grad()
def noise_level(small: Tensor, x: Tensor) -> Tensor:
    """Standard deviation of the noise in `x`, (B, 1, 1, 1) in [0, 1], as far as `small` is free of it.

    The difference x - small holds the noise, and detail that a restorer has added. The 30 % of pixels round which
    `small` has least detail are looked at, in two bands: noise that was enlarged or compressed with the photo is weak
    in the finer. The larger of both counts; each is divided by what white noise of standard deviation 1 has there.

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
    """Contrast of `x` against that of `small` in the two finest bands, (B, 2, 1, 1) in [0, 1]; 1: as sharp.

    A blurred photo shows detail that is there with less contrast, ``x_b = β_b small_b + ...``; β_b is found by least
    squares, ``<x_b, small_b> / <small_b, small_b>``, on which noise in x has no influence in the mean.

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
    """β from sums; 1 where a restoration has no detail that a blur could have weakened."""
    found = torch.where(own > 0, both / own.clamp_min(torch.finfo(own.dtype).tiny), torch.ones_like(own))
    return found.clamp(0, 1)[:, :, None, None]


@torch.no_grad()
def clipping_shift(tone: Tensor, noise: Tensor) -> Tensor:
    """How much brighter than the truth a mean `tone` is, because its noise was cut off at black; any shape.

    Noise of standard deviation σ round a truth μ, cut off below 0, has the mean ``m = μ Φ(μ/σ) + σ φ(μ/σ)`` (a clipped
    normal distribution). This is solved for μ >= 0 by Newton's method, which comes down to the root from ``μ = m``,
    because m(μ) is convex and rises with slope Φ. A mean below ``σ φ(0)``, which no truth has, counts as black.

    Args:
        tone: observed means m, in [0, 1].
        noise: σ when the noise was cut off; broadcasts.

    Returns:
        m - μ, from 0 on. For noise cut off at white give ``1 - tone``.

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
