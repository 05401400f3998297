"""Distances between images in the frequency domain: Fourier, discrete cosine, focal frequency and spectral."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from metaf2n_arch.functional.spectrum import multiplicity, normalised_spectrum


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def dct_matrix(n: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Returns the orthonormal type-II discrete cosine transform as a matrix (n, n).

    M[k, j] = sqrt((2 - δ_k0) / n) · cos(π (2j + 1) k / 2n), so that M Mᵀ = 1.

    >>> dct_matrix(2, torch.device('cpu'), torch.float64).round(decimals=3)
    tensor([[ 0.7070,  0.7070],
            [ 0.7070, -0.7070]], dtype=torch.float64)
    """
    index = torch.arange(n, dtype=torch.float64)
    matrix = torch.cos(math.pi * (2 * index[None, :] + 1) * index[:, None] / (2 * n)) * math.sqrt(2 / n)
    matrix[0] /= math.sqrt(2)
    return matrix.to(device, dtype)


def dct2(x: Tensor) -> Tensor:
    """Returns the two-dimensional orthonormal DCT-II over the last two dimensions of `x`, shape unchanged."""
    height, width = x.shape[-2:]
    return dct_matrix(height, x.device, x.dtype) @ x @ dct_matrix(width, x.device, x.dtype).t()


def _norm(x: Tensor, order: int, weight: Tensor | None = None) -> Tensor:
    """Σ w|x| (order 1) or sqrt(Σ w|x|²) (order 2) of each image: (B, ...) to (B,)."""
    size = x.abs() if order == 1 else (x.real.square() + x.imag.square() if x.is_complex() else x.square())
    total = (size if weight is None else size * weight).flatten(1).sum(1)
    if order == 1:
        return total
    # The gradient of sqrt is infinite at 0, where both images are equal: 0 is taken, a subgradient of the norm.
    nothing = total == 0
    return torch.where(nothing, total, torch.where(nothing, torch.ones_like(total), total).sqrt())


def _relative(difference: Tensor, pred: Tensor, target: Tensor) -> Tensor:
    """‖difference‖ / max(‖pred‖, ‖target‖); 0 if both images are 0."""
    return difference / torch.maximum(pred, target).clamp_min(torch.finfo(difference.dtype).tiny)


def fft_distance(pred: Tensor, target: Tensor, order: int = 1) -> Tensor:
    """Relative distance of two images in the Fourier domain.

    ‖F(x) - F(y)‖ / max(‖F(x)‖, ‖F(y)‖), F the discrete Fourier transform of each channel, ‖·‖ the sum of moduli
    (order 1) or the Euclidean norm (order 2) over all frequencies and channels of an image.

    Args:
        pred, target: x, y of (B, C, H, W).
        order: 1 or 2. By Parseval's theorem order 2 is the same for every orthonormal transform, and for the pixels.

    Returns:
        (B,), between 0 (equal) and 2; 0 if both images are 0.

    >>> x = torch.rand(2, 3, 8, 8)
    >>> fft_distance(x, x)
    tensor([0., 0.])
    """
    height, width = pred.shape[-2:]
    weight = multiplicity(height, width, pred.device, pred.dtype)
    first, second = torch.fft.rfft2(pred, norm='ortho'), torch.fft.rfft2(target, norm='ortho')
    return _relative(*(_norm(z, order, weight) for z in (first - second, first, second)))


def dct_distance(pred: Tensor, target: Tensor, order: int = 1) -> Tensor:
    """The same as `fft_distance` with the orthonormal type-II discrete cosine transform: (B, C, H, W) to (B,)."""
    first, second = dct2(pred), dct2(target)
    return _relative(*(_norm(z, order) for z in (first - second, first, second)))


def focal_frequency_distance(
    pred: Tensor,
    target: Tensor,
    alpha: float = 1.0,
    patch_factor: int = 1,
    average: bool = False,
    log_weight: bool = False,
    batch_weight: bool = False,
) -> Tensor:
    """Focal frequency distance (Jiang et al., "Focal Frequency Loss", ICCV 2021, eq. 8 and 9).

    mean_uv w(u, v) |F_x(u, v) - F_y(u, v)|², w = |F_x - F_y|^α, divided by its largest value in the image and channel;
    w is a constant for the gradient. F is orthonormal.

    Args:
        pred, target: x, y of (B, C, H, W).
        alpha: α; 0 weighs all frequencies alike.
        patch_factor: number of patches along each side; they are compared one by one.
        average: compare the spectra averaged over the batch.
        log_weight: w becomes log(1 + w) before the division.
        batch_weight: divide by the largest value in the whole batch.

    Returns:
        A scalar.

    Raises:
        ValueError: if H or W is no multiple of `patch_factor`.

    >>> focal_frequency_distance(torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)).item()  # 4² at frequency 0, w = 1
    1.0
    """
    batch, channels, height, width = pred.shape
    if height % patch_factor or width % patch_factor:
        raise ValueError(
            f'Images are {height}x{width}, expected multiples of patch_factor={patch_factor} on both sides.'
        )
    tall, wide = height // patch_factor, width // patch_factor
    difference = (pred - target).reshape(batch, channels, patch_factor, tall, patch_factor, wide).transpose(3, 4)
    spectrum = torch.fft.rfft2(difference, norm='ortho')
    if average:
        spectrum = spectrum.mean(0, keepdim=True)
    distance = spectrum.real.square() + spectrum.imag.square()
    with torch.no_grad():
        weight = distance.pow(alpha / 2)
        weight = weight.log1p() if log_weight else weight
        largest = weight.amax() if batch_weight else weight.amax((-2, -1), keepdim=True)
        weight = weight / largest.clamp_min(torch.finfo(weight.dtype).tiny)
        weight = weight * multiplicity(tall, wide, pred.device, pred.dtype)
    return (weight * distance).sum((-2, -1)).mean() / (tall * wide)


def spectral_distance(pred: Tensor, target: Tensor, scale: str = 'power') -> Tensor:
    """Binary cross entropy of two one-dimensional spectra (Durall et al., CVPR 2020, eq. 3).

    -mean_k [t_k log p_k + (1 - t_k) log(1 - p_k)], p and t the spectra of `metaf2n_arch.functional.spectrum`
    normalised to [0, 1]. The first bin of ``power``, 1 in both by construction, is left out.

    Args:
        pred, target: (B, C, H, W), compared channel by channel.
        scale: ``power`` or ``log``, see `normalised_spectrum`.

    Returns:
        (B,); smallest, but not 0, where the spectra agree: there it is the target's own entropy.
    """
    first = 1 if scale == 'power' else 0
    p, t = (normalised_spectrum(x, scale)[..., first:] for x in (pred, target))
    p = p.clamp(torch.finfo(p.dtype).tiny, 1 - torch.finfo(p.dtype).eps)
    t = t.clamp(0, 1)
    return -(t * p.log() + (1 - t) * torch.log1p(-p)).flatten(1).mean(1)
