"""Power spectra of images and their azimuthal integration to one dimension."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

# BT.601, as every luminance in this package
LUMA = (0.299, 0.587, 0.114)


def luminance(x: Tensor) -> Tensor:
    """Returns the BT.601 luminance (B, 1, H, W) of RGB images, or the images themselves if they have one channel.

    >>> luminance(torch.ones(1, 3, 2, 2)).shape
    torch.Size([1, 1, 2, 2])
    """
    if x.shape[1] == 1:
        return x
    if x.shape[1] != 3:
        raise ValueError(f'The images have {x.shape[1]} channels, expected 3 (RGB) or 1.')
    return (x * x.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)


def power_spectrum(x: Tensor) -> Tensor:
    """Returns |F(x)|² over the half-plane that a real image has, with an orthonormal transform.

    Args:
        x: real (..., H, W).

    Returns:
        (..., H, W // 2 + 1), frequencies as `torch.fft.rfft2` orders them. Weighted by `multiplicity` it sums to ‖x‖².
    """
    transform = torch.fft.rfft2(x, norm='ortho')
    return transform.real.square() + transform.imag.square()


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def multiplicity(height: int, width: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Returns how often each entry of the half-plane stands in the whole plane: (W // 2 + 1,), ones and twos.

    >>> multiplicity(4, 5, torch.device('cpu'), torch.float32)
    tensor([1., 2., 2.])
    """
    count = torch.full((width // 2 + 1,), 2.0, device=device, dtype=dtype)
    count[0] = 1
    if width % 2 == 0:
        count[-1] = 1
    return count


def frequency_radius(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Returns the distance of each entry of the half-plane from frequency 0, in cycles per pixel, float64.

    Both axes are measured in cycles per pixel, so that a ring means one wavelength also in an image that is not square.
    """
    vertical = torch.fft.fftfreq(height, dtype=torch.float64, device=device)
    horizontal = torch.fft.rfftfreq(width, dtype=torch.float64, device=device)
    return torch.hypot(vertical[:, None], horizontal[None, :])


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _rings(height: int, width: int, bins: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The ring of each entry of the flat half-plane, and the weight that makes a mean of the sum over a ring.

    The corners, beyond the highest frequency of the axes, share one more ring at the end, to be thrown away.
    """
    ring = (frequency_radius(height, width) * 2 * (bins - 1)).round().long().clamp_max(bins).flatten()
    weight = multiplicity(height, width, torch.device('cpu'), torch.float64).expand(height, -1).flatten()
    count = torch.zeros(bins + 1, dtype=torch.float64).index_add_(0, ring, weight)
    if (count[:bins] == 0).any():
        raise ValueError(
            f'Images of {height}x{width} have frequencies for {min(height, width) // 2 + 1} bins, asked for {bins}.'
        )
    return ring.to(device), (weight / count[ring]).to(device, dtype)


def azimuthal_mean(spectrum: Tensor, height: int, width: int, bins: int | None = None) -> Tensor:
    """Averages a spectrum over all directions: ∫ S(f cos φ, f sin φ) dφ / 2π on rings of equal width.

    The rings are centred on f_k = k / (2 (K - 1)) cycles per pixel, k = 0 .. K - 1: the first is the constant, the last
    the highest frequency of the axes. Each frequency goes to the nearest ring, so that with K = N // 2 + 1 bins,
    N = min(H, W), a wave of k periods along that side falls into bin k alone, and white noise is flat.

    Args:
        spectrum: (..., H, W // 2 + 1), a half-plane as of `power_spectrum`.
        height, width: sides H, W of the image it belongs to.
        bins: K; min(H, W) // 2 + 1 if left out.

    Returns:
        (..., K), differentiable.

    Raises:
        ValueError: if there are more bins than frequencies to fill them.

    >>> azimuthal_mean(torch.ones(4, 3), 4, 4)
    tensor([1., 1., 1.])
    """
    bins = min(height, width) // 2 + 1 if bins is None else bins
    if bins < 2:
        raise ValueError(f'A spectrum needs images of 2x2 and 2 bins or more; got {height}x{width} and {bins} bins.')
    ring, weight = _rings(height, width, bins, spectrum.device, spectrum.dtype)
    rows = spectrum.reshape(-1, len(ring)) * weight
    mean = rows.new_zeros(len(rows), bins + 1).index_add(1, ring, rows)[:, :bins]
    return mean.reshape(*spectrum.shape[:-2], bins)


def radial_power_spectrum(x: Tensor, bins: int | None = None) -> Tensor:
    """Returns the one-dimensional power spectrum AI_k of real images (..., H, W): (..., K), see `azimuthal_mean`.

    Durall et al., "Watch Your Up-Convolution", CVPR 2020, eq. 2.
    """
    return azimuthal_mean(power_spectrum(x), x.shape[-2], x.shape[-1], bins)


def normalised_spectrum(x: Tensor, scale: str = 'power', bins: int | None = None) -> Tensor:
    """Returns the one-dimensional spectrum of real images on a scale that does not depend on their brightness.

    ``power``: AI_k / AI_0, as the paper (Durall et al., CVPR 2020) has it. ``log``: the authors' program, the azimuthal
    mean of log |F|, moved and scaled so that its lowest bin is 0 and its highest 1. ``decades``: log₁₀ (AI_k / AI_0).

    Args:
        x: (..., H, W).
        scale: ``power``, ``log`` or ``decades``.
        bins: number of bins K, min(H, W) // 2 + 1 if left out.

    Returns:
        (..., K); 0 where the spectrum has nothing to divide by.
    """
    tiny = torch.finfo(x.dtype).eps ** 2
    power = power_spectrum(x)
    if scale in ('power', 'decades'):
        mean = azimuthal_mean(power, x.shape[-2], x.shape[-1], bins)
        ratio = mean / mean[..., :1].clamp_min(tiny)
        return ratio if scale == 'power' else ratio.clamp_min(tiny).log10()
    mean = azimuthal_mean((power + tiny).log() / 2, x.shape[-2], x.shape[-1], bins)
    low, high = mean.amin(-1, keepdim=True), mean.amax(-1, keepdim=True)
    return (mean - low) / (high - low).clamp_min(1e3 * torch.finfo(x.dtype).eps)  # a flat spectrum stays near 0
