"""Low-frequency consistency: a restored photo keeps the tones of the photo that it was made from.

**Derivation.** A low-quality photo is ``x = down(k * Y) + n``: the truth Y blurred by k, shrunk s times, with noise n.
A blur that sums to 1 and shrinking keep frequencies well below their cut-off, and a Gaussian of standard deviation σ
leaves only ``|n| / (2 sqrt(π) σ)`` of white noise. So ``low(x) ≈ low(down(Y))``, and a restoration y of Y should have

    low(down(y)) = low(x)        low: Gaussian of σ pixels of x; down: mean over s x s pixels

GAN-trained restorers miss this by several grey levels. The nearest y that has it, in the sense of one step of
back-projection (Irani and Peleg 1991) and of the range-null-space split of DDNM (Wang et al., ICLR 2023), is

    C(y; x) = y + up(low(x - down(y)))        up: bicubic

**Bands instead of one σ.** Both x and y have errors, larger ones in finer bands. Two estimates with independent errors
are best mixed (Wiener filter): a band b of the difference is put back with a gain g_b below 1, which falls with noise:

    C(y; x) = y + up( Σ_b g_b (x_b - β_b down(y)_b) )        b: bands between Gaussians of `EDGES`

The coarsest band, tone, has gain 1. Gains of the others (`GAINS`, `GONE`) were fitted on photos, see
docs/adaptation.md.

**Where the assumption fails, and what is done about it.**

- *Strong noise.* It would come back as blotches. `noise_level` measures it; the finer a band, the sooner its gain is 0.
- *Blur* weakens contrast in the two finest bands. This is an error of x, not of y. `sharpness` measures c_b, the share
  of the contrast that x has left; y may keep the part `FORGIVEN` of the rest: β_b = 1 - FORGIVEN (1 - c_b). In the
  coarser bands β_b = 1.
- *Saturated areas.* Noise that is clipped at white makes the mean darker, at black brighter. `clipping_shift` computes
  how much. A correction away from white or black is reduced by this shift, a correction towards it is kept.
- *Hidden colours* under full transparency mean nothing: pixels count by `weight`, as in normalised convolution
  (Knutsson and Westin 1993).
- *Vignetting, a colour cast, wrong exposure* are low frequencies of x and stay: the fix keeps tones, it repairs none.
- *A downscaling unlike the mean* (half a pixel's shift, a sharper kernel) differs near edges only, above the cut-off.
- *Borders and odd sizes.* Photos are reflected at their borders, as often as the kernel asks for; any size is fine.
- *Tiles.* Filter the whole photo, or strips with the rows that the kernel reaches (`color_fix.in_strips`), with the
  same `traits` for all. If each tile were filtered by itself, tones would jump at the seams.
- *Grey and 16 bits.* Channels are treated alike, in floating point. Make a grey photo grey again afterwards.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metaf2n_arch.functional.gaussians import bands, enlarged, filtered, low_pass, shrunk, whole_scale
from metaf2n_arch.functional.traits import FINE, Traits, clipping_shift, traits_of

EDGES = (*FINE, 4.0)
"""σ of the Gaussians that separate the bands, in pixels of x."""

GAINS = (0.6, 0.6, 0.7, 1.0)
"""Gain of each band without noise, finest first."""

GONE = (12 / 255, 14 / 255, 40 / 255, float('inf'))
"""Standard deviation of the noise at which the gain of each band reaches 0; the gain falls linearly with noise."""

FORGIVEN = 0.4
"""Share of the contrast lost by blur that y may keep, in the two finest bands."""

CLIPPED_PER_NOISE, CLIPPED_LEAST = 2.0, 24 / 255
"""Standard deviation of the noise when it was clipped: CLIPPED_PER_NOISE · (noise in x) + CLIPPED_LEAST.

It is larger than the noise in x, because photos are downscaled, blurred and compressed afterwards. This removes more of
the noise than of the shift that clipping left.
"""

SHARPEST, SMOOTHEST = 1.0, 2.0
"""σ of the low-pass of `drift`, in pixels of x: for photos with little noise, and for photos that may have much."""


def low_frequency_fix(
    y: Tensor,
    x: Tensor,
    sigma: float | None = None,
    *,
    weight: Tensor | None = None,
    one_sided: bool = True,
    traits: Traits | None = None,
) -> Tensor:
    """C(y; x): `y` with the low frequencies of `x`; differentiable in both.

    Noise, sharpness and saturation are estimated without a gradient: they count as constants.

    Args:
        y: a restoration, (B, C, s·H, s·W) in [0, 1].
        x: the photo it was made from, (B, C, H, W) in [0, 1].
        sigma: None mixes bands by their gains; a number is the equation with one low-pass of this standard deviation in
            pixels of `x`, and gain 1.
        weight: how much each pixel of `x` counts, (B, 1, H, W) in [0, 1], such as its opacity; None: all alike.
        one_sided: reduce corrections away from black and white by the shift that clipped noise explains.
        traits: noise and sharpness of `x`, see `traits_of`; None measures them.

    Returns:
        (B, C, s·H, s·W); not clamped.

    Raises:
        ValueError: if the sides of `y` are not the same whole multiple of those of `x`.

    >>> x = torch.full((1, 3, 6, 5), 0.5)
    >>> round(low_frequency_fix(torch.full((1, 3, 24, 20), 0.4), x).mean().item(), 4)
    0.5
    """
    scale = whole_scale(y, x)
    change = correction(shrunk(y, scale), x, sigma, weight=weight, one_sided=one_sided, traits=traits)
    return y + enlarged(change, scale)


def correction(
    small: Tensor,
    x: Tensor,
    sigma: float | None = None,
    *,
    weight: Tensor | None = None,
    one_sided: bool = True,
    traits: Traits | None = None,
) -> Tensor:
    """Returns the correction that C(y; x) adds, before `up`: (B, C, H, W), from ``small = down(y)``.

    Arguments as in `low_frequency_fix`.
    """
    if traits is None and (one_sided or sigma is None):
        traits = traits_of(small, x)
    if sigma is None:
        assert traits is not None
        change = _mixed(small, x, traits, weight)
    else:
        change = low_pass(x - small, sigma, weight)
    if not one_sided:
        return change
    assert traits is not None
    with torch.no_grad():
        tone = low_pass(x, SMOOTHEST, weight)
        clipped = CLIPPED_PER_NOISE * traits.noise + CLIPPED_LEAST
        brighter, darker = clipping_shift(tone, clipped), clipping_shift(1 - tone, clipped)
    return torch.where(change > 0, (change - brighter).clamp_min(0), (change + darker).clamp_max(0))


def _mixed(small: Tensor, x: Tensor, traits: Traits, weight: Tensor | None) -> Tensor:
    """Σ_b g_b (x_b - β_b small_b), where x_b - β_b small_b = (x - small)_b + FORGIVEN (1 - c_b) small_b."""
    change = torch.zeros_like(x)
    gaps, own = bands(x - small, EDGES, weight), bands(small, FINE, weight)
    for number, (gap, gain, gone) in enumerate(zip(gaps, GAINS, GONE)):
        if number < len(FINE):
            gap = gap + FORGIVEN * (1 - traits.sharpness[:, number : number + 1]) * own[number]
        change = change + gain * (1 - traits.noise / gone).clamp_min(0) * gap
    return change


def drift(y: Tensor, x: Tensor, sigma: float = SMOOTHEST, weight: Tensor | None = None) -> Tensor:
    """Mean |low(x) - low(down(y))| of each image, (B,): how far the tones of `y` are from those of `x`, in [0, 1].

    >>> drift(torch.full((1, 3, 8, 8), 0.25), torch.full((1, 3, 2, 2), 0.5)).round(decimals=4).tolist()
    [0.25]
    """
    gap = low_pass(x - shrunk(y, whole_scale(y, x)), sigma, weight).abs().mean(1, keepdim=True)
    if weight is None:
        return gap.mean((1, 2, 3))
    return (gap * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp_min(1e-6)


def wavelet_fix(y: Tensor, x: Tensor, levels: int = 5) -> Tensor:
    """y + A(up(x) - y): `y` with the coarsest part of an à-trous decomposition of the enlarged `x`.

    The colour fix of StableSR (Wang et al., IJCV 2024): A blurs `levels` times by ``[1 2 1] / 4`` along each axis, with
    a dilation of 2^i pixels of `y`, edges repeated. It does not account for noise or saturation; 5 levels are about
    σ = 26 pixels of `y`.

    Args:
        y: a restoration, (B, C, s·H, s·W) in [0, 1].
        x: the photo it was made from, (B, C, H, W) in [0, 1].
        levels: number of blurs.

    Returns:
        (B, C, s·H, s·W); not clamped.

    Raises:
        ValueError: if the sides of `y` are not the same whole multiple of those of `x`.
    """
    gap = enlarged(x, whole_scale(y, x)) - y
    for level in range(levels):
        for axis in (-2, -1):
            gap = filtered(gap, (0.25, 0.5, 0.25), axis, 1 << level, reflect=False)
    return y + gap
