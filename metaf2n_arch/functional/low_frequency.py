"""Low-frequency consistency: a restored photo keeps the tones of the photo that it was made from.

**Derivation.** A low-quality photo is ``x = down(k * Y) + n``: the truth Y blurred by k, shrunk s times, with noise n.
A blur that sums to 1 and shrinking keep frequencies well below their cut-off, and a Gaussian of standard deviation σ
leaves only ``|n| / (2 sqrt(π) σ)`` of white noise. So ``low(x) ≈ low(down(Y))``, and a restoration y of Y should have

    low(down(y)) = low(x)        low: Gaussian of σ pixels of x; down: mean over s x s pixels

GAN-trained restorers miss this by several grey levels. The nearest y that has it, in the sense of one step of
back-projection (Irani and Peleg 1991) and of the range-null-space split of DDNM (Wang et al., ICLR 2023), is

    C(y; x) = y + up(low(x - down(y)))        up: bicubic

It moves tones alone: detail finer than about 2 σ pixels of x stays what the restorer made of it.

**Where the assumption fails, and what is done about it.**

- *Strong noise.* Its low frequencies come back as blotches. `noise_level` measures it; σ grows from 1 pixel where there
  is little of it to 2 where there is much.
- *Saturated areas.* Noise that is cut off at white makes the mean darker, at black brighter. Near both ends a
  correction away from the end is faded out, over a range that grows with the noise; towards the end it is kept.
- *Hidden colours* under full transparency mean nothing: pixels count by `weight`, as in normalised convolution
  (Knutsson and Westin 1993).
- *Vignetting, a colour cast, wrong exposure* are low frequencies of x and stay: this is no repair of tones.
- *A downscaling unlike the mean* (half a pixel's shift, a sharper kernel) differs near edges only, above the cut-off.
- *Borders and odd sizes.* Photos are reflected at their borders, as often as the kernel asks for; any size is fine.
- *Tiles.* Filter the whole photo, or strips with the rows that the kernel reaches (`color_fix.in_strips`), with one
  `noise` for all: each tile by itself would make tones jump.
- *Grey and 16 bits.* Channels are treated alike, in floating point. Make a grey photo grey again afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

CLEAN, NOISY = 2.5 / 255, 6.0 / 255
"""Noise up to which `SHARPEST` is taken, and from which on `SMOOTHEST` is."""

SHARPEST, SMOOTHEST = 1.0, 2.0
"""σ in pixels of x without noise, and with much."""

FADE_LEAST, FADE_PER_NOISE, FADE_MOST = 0.01, 12.0, 0.25
"""Distance from black or white within which corrections away from it are faded out: at least, per noise, at most."""

BANDS = (0.7, 1.4)
"""σ of the Gaussians between which noise is looked for."""

MOST_SAMPLES = 1 << 20
"""Pixels of which a quantile is taken; of larger photos every so manieth."""


def low_frequency_fix(
    y: Tensor,
    x: Tensor,
    sigma: float | None = None,
    *,
    weight: Tensor | None = None,
    one_sided: bool = True,
    noise: Tensor | None = None,
) -> Tensor:
    """C(y; x) = y + up(low(x - down(y))): `y` with the low frequencies of `x`; differentiable in both.

    What is estimated on the way (noise, saturation) is held constant in the gradient.

    Args:
        y: a restoration, (B, C, s·H, s·W) in [0, 1].
        x: what it was made from, (B, C, H, W) in [0, 1].
        sigma: standard deviation of the low-pass in pixels of `x`; None chooses between `SHARPEST` and `SMOOTHEST` by
            the noise of each image.
        weight: how much each pixel of `x` counts, (B, 1, H, W) in [0, 1], such as its opacity; None: all alike.
        one_sided: fade corrections away from black and white out near these; False is the bare equation.
        noise: that of `x`, see `noise_level`, where it is known; None measures it.

    Returns:
        (B, C, s·H, s·W); not clamped.

    Raises:
        ValueError: the sides of `y` are no common whole multiple of those of `x`.

    >>> x = torch.full((1, 3, 6, 5), 0.5)
    >>> round(low_frequency_fix(torch.full((1, 3, 24, 20), 0.4), x).mean().item(), 4)
    0.5
    """
    scale = whole_scale(y, x)
    change = correction(shrunk(y, scale), x, sigma, weight=weight, one_sided=one_sided, noise=noise)
    return y + enlarged(change, scale)


def correction(
    small: Tensor,
    x: Tensor,
    sigma: float | None = None,
    *,
    weight: Tensor | None = None,
    one_sided: bool = True,
    noise: Tensor | None = None,
) -> Tensor:
    """What C(y; x) adds, before it is enlarged: (B, C, H, W), from ``small = down(y)``; see `low_frequency_fix`."""
    gap = x - small
    noise = noise_level(small, x) if noise is None else noise
    if sigma is not None:
        change, widest = low_pass(gap, sigma, weight), sigma
    else:
        clean = ((NOISY - noise) / (NOISY - CLEAN)).clamp(0, 1)
        smooth, widest = low_pass(gap, SMOOTHEST, weight), SMOOTHEST
        change = smooth + clean * (low_pass(gap, SHARPEST, weight) - smooth)
    if not one_sided:
        return change
    with torch.no_grad():
        tone = low_pass(x, widest, weight)
        reach = (FADE_LEAST + FADE_PER_NOISE * noise).clamp(max=FADE_MOST)
        up, down = (tone / reach).clamp(0, 1), ((1 - tone) / reach).clamp(0, 1)
    return torch.where(change > 0, change * up, change * down)


def drift(y: Tensor, x: Tensor, sigma: float = SMOOTHEST, weight: Tensor | None = None) -> Tensor:
    """Mean |low(x) - low(down(y))| of each image, (B,): how far the tones of `y` are from those of `x`, in [0, 1].

    >>> drift(torch.full((1, 3, 8, 8), 0.25), torch.full((1, 3, 2, 2), 0.5)).round(decimals=4).tolist()
    [0.25]
    """
    gap = low_pass(x - shrunk(y, whole_scale(y, x)), sigma, weight).abs().mean(1, keepdim=True)
    if weight is None:
        return gap.mean((1, 2, 3))
    return (gap * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp_min(1e-6)


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
    gap = x - small
    fine, coarse = (low_pass(gap, sigma) for sigma in BANDS)
    detail = low_pass((small - low_pass(small, BANDS[0])).abs().mean(1, keepdim=True), SMOOTHEST).flatten(1)
    step = -(-detail.shape[1] // MOST_SAMPLES)
    detail = detail[:, ::step]
    calm = detail <= detail.float().quantile(0.3, dim=1, keepdim=True).to(detail)
    levels = []
    for band, white in ((gap - fine, _white(None, BANDS[0])), (fine - coarse, _white(*BANDS))):
        size = band.abs().mean(1).flatten(1)[:, ::step]
        levels.append(size.masked_fill(~calm, math.nan).nanmedian(1).values / white)
    return torch.stack(levels).amax(0).view(-1, 1, 1, 1)


def low_pass(x: Tensor, sigma: float, weight: Tensor | None = None) -> Tensor:
    """Images (B, C, H, W) under a Gaussian of `sigma` pixels, reflected at the borders (edge pixel repeated).

    With a `weight` (B, 1, H, W) it is normalised convolution, ``low(w x) / low(w)``; 0 where nothing counts.
    """
    if weight is None:
        return _blur(x, sigma)
    total = _blur(weight, sigma)
    return _blur(x * weight, sigma) / total.clamp_min(1e-6)


def wavelet_fix(y: Tensor, x: Tensor, levels: int = 5) -> Tensor:
    """y + A(up(x) - y): `y` with the coarsest part of an à-trous decomposition of the enlarged `x`.

    The colour fix of StableSR (Wang et al., IJCV 2024): A blurs `levels` times by ``[1 2 1] / 4`` along each axis, with
    holes of 2^i pixels of `y`, edges repeated. It knows neither noise nor saturation; 5 levels are about σ = 26 pixels
    of `y`.

    Args:
        y: a restoration, (B, C, s·H, s·W) in [0, 1].
        x: what it was made from, (B, C, H, W) in [0, 1].
        levels: number of blurs.

    Returns:
        (B, C, s·H, s·W); not clamped.

    Raises:
        ValueError: the sides of `y` are no common whole multiple of those of `x`.
    """
    gap = enlarged(x, whole_scale(y, x)) - y
    for level in range(levels):
        for axis in (-2, -1):
            gap = _along(gap, (0.25, 0.5, 0.25), axis, 1 << level, reflect=False)
    return y + gap


def whole_scale(y: Tensor, x: Tensor) -> int:
    """s, the number of pixels of `y` along one of `x`.

    Raises:
        ValueError: the sides of `y` are no common whole multiple of those of `x`.
    """
    scale = max(1, y.shape[-1] // x.shape[-1])
    if tuple(y.shape[-2:]) != (x.shape[-2] * scale, x.shape[-1] * scale):
        raise ValueError(f'y has sides {tuple(y.shape[-2:])}, expected a whole multiple of {tuple(x.shape[-2:])} of x.')
    return scale


def shrunk(y: Tensor, scale: int) -> Tensor:
    """down: the mean over `scale` x `scale` pixels."""
    return F.avg_pool2d(y, scale) if scale > 1 else y


def enlarged(x: Tensor, scale: int) -> Tensor:
    """up: bicubic, half-pixel centres; not clamped."""
    return F.interpolate(x, scale_factor=scale, mode='bicubic', align_corners=False) if scale > 1 else x


@lru_cache(maxsize=32)
def _taps(sigma: float) -> tuple[float, ...]:
    """A Gaussian sampled over four standard deviations to each side, summing to 1."""
    reach = max(1, math.ceil(4 * sigma))
    taps = [math.exp(-((i / sigma) ** 2) / 2) for i in range(-reach, reach + 1)]
    return tuple(tap / sum(taps) for tap in taps)


def _white(inner: float | None, outer: float) -> float:
    """Mean absolute value of white noise of standard deviation 1 in the band between two Gaussians."""

    def product(a: float | None, b: float | None) -> float:
        left, right = (tuple([1.0]) if s is None else _taps(s) for s in (a, b))
        short, long = sorted((left, right), key=len)
        start = (len(long) - len(short)) // 2
        return sum(p * q for p, q in zip(short, long[start:])) ** 2

    energy = product(inner, inner) - 2 * product(inner, outer) + product(outer, outer)
    return math.sqrt(2 / math.pi * energy)


def _blur(x: Tensor, sigma: float) -> Tensor:
    return _along(_along(x, _taps(sigma), -2), _taps(sigma), -1)


def _along(x: Tensor, taps: Sequence[float], axis: int, holes: int = 1, reflect: bool = True) -> Tensor:
    """Filters along one axis, -2 or -1, with `holes` - 1 pixels left out between two taps.

    As a sum of shifted images: a convolution of one channel is many times slower on CPUs.
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
