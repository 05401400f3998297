"""Power spectra of images and their azimuthal integration to one dimension."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def power_spectrum(x: Tensor) -> Tensor:
    """Returns |F(x)|², F the orthonormal Fourier transform, over the half-plane of a real image's transform.

    Args:
        x: real (..., H, W).

    Returns:
        (..., H, W // 2 + 1), frequencies as `torch.fft.rfft2` orders them. Weighted by `multiplicity` it sums to ‖x‖².
    """
    return _squared(torch.fft.rfft2(x, norm='ortho'))


def _squared(transform: Tensor) -> Tensor:
    return (transform * transform.conj()).real


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def multiplicity(height: int, width: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Returns how often each column of the half-plane occurs in the whole plane, 1 or 2: (W // 2 + 1,).

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
def _rings(
    height: int, width: int, bins: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns three tensors that average a half-plane over rings.

    The number of the ring of each entry of the flattened half-plane; the weight of each entry, by which the sum over a
    ring is its mean; and 1 / n_k, n_k the number of entries of ring k in the whole plane. The corners, beyond the
    highest frequency of the axes, form one more ring at the end, which is not used.
    """
    # A frequency half-way between two rings goes to the lower one: 1e-9 is more than the rounding error of the radius.
    ring = (frequency_radius(height, width) * 2 * (bins - 1) - 1e-9).round().long().clamp_max(bins).flatten()
    weight = multiplicity(height, width, torch.device('cpu'), torch.float64).expand(height, -1).flatten()
    count = torch.zeros(bins + 1, dtype=torch.float64).index_add_(0, ring, weight)
    if (count[:bins] == 0).any():
        raise ValueError(
            f'Images of {height}x{width} have frequencies for {min(height, width) // 2 + 1} bins, got {bins} bins.'
        )
    share = 1 / count[:bins]
    return ring.to(device), (weight / count[ring]).view(height, -1).to(device, dtype), share.to(device, dtype)


def azimuthal_mean(spectrum: Tensor, height: int, width: int, bins: int | None = None) -> Tensor:
    """Averages a spectrum over all directions: ∫ S(f cos φ, f sin φ) dφ / 2π on rings of equal width.

    The rings are centred on f_k = k / (2 (K - 1)) cycles per pixel, k = 0 .. K - 1: the first is the constant, the last
    the highest frequency of the axes. Each frequency goes to the nearest ring, one half-way between two to the lower.
    With K = N // 2 + 1 bins, N = min(H, W), a wave of k periods along the shorter side falls into bin k alone. White
    noise has a flat spectrum.

    Args:
        spectrum: (..., H, W // 2 + 1), a half-plane as `power_spectrum` returns it.
        height, width: sides H, W of the image it belongs to.
        bins: K; min(H, W) // 2 + 1 if left out.

    Returns:
        (..., K), differentiable.

    Raises:
        ValueError: if a bin has no frequency, because `bins` is too large; if `bins` or a side is less than 2.

    >>> azimuthal_mean(torch.ones(4, 3), 4, 4)
    tensor([1., 1., 1.])
    """
    bins = _number_of_bins(height, width, bins)
    ring, weight, _ = _rings(height, width, bins, spectrum.device, spectrum.dtype)
    rows = (spectrum * weight).reshape(-1, len(ring))
    mean = rows.new_zeros(len(rows), bins + 1).index_add(1, ring, rows)[:, :bins]
    return mean.reshape(*spectrum.shape[:-2], bins)


def _number_of_bins(height: int, width: int, bins: int | None) -> int:
    bins = min(height, width) // 2 + 1 if bins is None else bins
    if bins < 2:
        raise ValueError(
            f'A spectrum needs images of 2x2 or more and 2 or more bins; got {height}x{width} and {bins} bins.'
        )
    return bins


def radial_power_spectrum(x: Tensor, bins: int | None = None) -> Tensor:
    """Returns the one-dimensional power spectrum AI_k of real images (..., H, W): (..., K), see `azimuthal_mean`.

    Durall et al., "Watch Your Up-Convolution", CVPR 2020, eq. 2. Differentiable, any number of times.
    """
    return _RadialPower.apply(x, _number_of_bins(x.shape[-2], x.shape[-1], bins))[0]


class _RadialPower(torch.autograd.Function):
    """AI_k = Σ |F(x)|² / n_k over the ring k, with its gradient F⁻¹(2 g_k F(x) / n_k) in closed form.

    This costs one inverse real transform. torch's own gradient of `rfft2` is a complex transform of the whole plane,
    with one more pass over all frequencies for each step from there to the rings.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, bins: int) -> tuple[Tensor, Tensor]:
        transform = torch.fft.rfft2(x, norm='ortho')
        return azimuthal_mean(_squared(transform), x.shape[-2], x.shape[-1], bins), transform

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)  # else backward gets zeros of the size of the transform
        ctx.save_for_backward(inputs[0], output[1])
        ctx.bins = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, _transform: None) -> tuple[Tensor | None, None]:
        if gradient is None:
            return None, None
        x, transform = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: as a function of x, so that the gradient can be differentiated
            transform = torch.fft.rfft2(x, norm='ortho')
        height, width = x.shape[-2:]
        ring, _, share = _rings(height, width, ctx.bins, x.device, x.dtype)
        # The corners, the last ring, are in no mean: their gradient is 0.
        rings = F.pad(2 * share * gradient.reshape(-1, ctx.bins), (0, 1))
        scale = rings.index_select(1, ring).view(transform.shape)
        return torch.fft.irfft2(transform * scale, s=(height, width), norm='ortho'), None


def normalised_spectrum(x: Tensor, scale: str = 'power', bins: int | None = None) -> Tensor:
    """Returns the one-dimensional spectrum of real images on a scale that does not depend on their brightness.

    ``power``: AI_k / AI_0, as the paper (Durall et al., CVPR 2020) has it. ``log``: the authors' program, the azimuthal
    mean of log |F|, shifted and scaled so that its lowest bin is 0 and its highest 1. ``decades``: log₁₀ (AI_k / AI_0).

    Args:
        x: (..., H, W).
        scale: ``power``, ``log`` or ``decades``.
        bins: number of bins K, min(H, W) // 2 + 1 if left out.

    Returns:
        (..., K). Finite: where a divisor is 0 (an image of zeros, or a flat spectrum in ``log``), a small number
        replaces it.
    """
    tiny = torch.finfo(x.dtype).eps ** 2
    if scale in ('power', 'decades'):
        mean = radial_power_spectrum(x, bins)
        ratio = mean / mean[..., :1].clamp_min(tiny)
        return ratio if scale == 'power' else ratio.clamp_min(tiny).log10()
    mean = azimuthal_mean((power_spectrum(x) + tiny).log() / 2, x.shape[-2], x.shape[-1], bins)
    low, high = mean.amin(-1, keepdim=True), mean.amax(-1, keepdim=True)
    return (mean - low) / (high - low).clamp_min(1e3 * torch.finfo(x.dtype).eps)  # a flat spectrum stays near 0
