"""Application of a degradation draw to images: blur, resize, noise, JPEG, twice (Real-ESRGAN's second order)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metaf2n_arch.degradation.codecs import compress
from metaf2n_arch.degradation.finishing import add_halo, dithered
from metaf2n_arch.degradation.noise import add_noise
from metaf2n_arch.degradation.params import SIDE, DegradationParams, StageParams
from metaf2n_arch.utils.checks import require_image_batch
from metaf2n_arch.utils.padding import reflect_pad

# Since torch 2.9. After a program has used this switch, reading the older, global one raises an error.
_NEW_PRECISION_SWITCH = hasattr(torch.backends.cuda.matmul, 'fp32_precision')
# Largest side of kernels that are convolved directly on a CPU; sum of outer weights that float32 does not resolve.
DIRECT = 9
NEGLIGIBLE = 1e-7


def apply(images: Tensor, params: DegradationParams, stream: int = 0) -> Tensor:
    """Returns the degraded images: the same images and parameters give the same result on any device.

    First, the gains `light`. Stage 1: blur, resize by its factor, noise, JPEG. Stage 2: blur, resize to its factor of
    the final size, noise, then JPEG and (resize to the final size, sinc filter) in the order that was drawn. Last,
    rounding to 8 bits. The result has no gradient, and autocast is switched off inside.

    Args:
        images: (N, 3, H, W) RGB in [0, 1], floating point; all N share kernels, factors, modes and JPEG qualities.
        params: one draw.
        stream: number of this set of images among the sets of one draw (support, query); sets have independent noise.
            The noise of stream t has the key (seed, stage, t), see `add_noise`.

    Returns:
        (N, 3, H/s, W/s) float32 in [0, 1], whole multiples of 1/255.

    Raises:
        ValueError: `images` is not such a batch, or the scale does not divide H and W.

    >>> import numpy as np
    >>> from metaf2n_arch.degradation import DegradationConfig
    >>> params = DegradationConfig(scale=4).sample(np.random.default_rng(0))
    >>> apply(torch.rand(2, 3, 64, 48), params).shape
    torch.Size([2, 3, 16, 12])
    """
    require_image_batch('images', images, channels=3)
    final_size = params.output_size(*images.shape[-2:])
    with torch.no_grad(), full_precision(images.device.type):
        first, second = params.stages
        x = images.float()
        if params.light != (1.0, 1.0, 1.0):
            x = (x * x.new_tensor(params.light).view(3, 1, 1)).clamp(0, 1)
        x = _blur_resize_noise(x, first, images.shape[-2:], (params.seed, 0, stream))
        if first.quality:
            x = compress(x, first.codec, first.quality)
        x = _blur_resize_noise(x, second, final_size, (params.seed, 1, stream))
        if second.quality and not params.jpeg_last:
            x = compress(x, second.codec, second.quality)
        x = filter2d(resize(x, final_size, params.final_mode), params.sinc)
        if second.quality and params.jpeg_last:
            x = compress(x, second.codec, second.quality)
        return torch.round(x * 255).clamp(0, 255) / 255


def apply_batch(images: Tensor, tensors: Mapping[str, Tensor], stream: int = 0) -> Tensor:
    """Degrades a collated batch, each item by its own draw.

    Args:
        images: (B, 3, H, W), one image per draw, or (B, N, 3, H, W), N images per draw; RGB in [0, 1].
        tensors: B dictionaries of `DegradationParams.to_tensors`, collated to one.
        stream: as in `apply`.

    Returns:
        (B, 3, H/s, W/s) or (B, N, 3, H/s, W/s).

    Raises:
        ValueError: the numbers of images and draws differ, or see `apply`.
    """
    draws = DegradationParams.unbatch(tensors)
    if len(draws) != len(images):
        raise ValueError(f'got {len(images)} images and {len(draws)} degradation draws, expected one draw for each.')
    if images.ndim == 5:
        return torch.stack([apply(item, draw, stream) for item, draw in zip(images, draws)])
    return torch.cat([apply(item[None], draw, stream) for item, draw in zip(images, draws)])


@contextmanager
def full_precision(device_type: str) -> Iterator[None]:
    """Switches autocast, TF32 and bf16 matrix products off: they would round DCT coefficients to other integers."""
    backends: list[Any] = []
    if _NEW_PRECISION_SWITCH:
        mkldnn: Any = torch.backends.mkldnn
        backends = [torch.backends.cuda.matmul, mkldnn.matmul, mkldnn.conv]
    before = [backend.fp32_precision for backend in backends] or torch.get_float32_matmul_precision()
    with torch.autocast(device_type, enabled=False):
        try:
            if isinstance(before, str):
                torch.set_float32_matmul_precision('highest')
            for backend in backends:
                backend.fp32_precision = 'ieee'
            yield
        finally:
            if isinstance(before, str):
                torch.set_float32_matmul_precision(before)
            for backend, value in zip(backends, before):
                backend.fp32_precision = value


def filter2d(images: Tensor, kernel: Tensor) -> Tensor:
    """Returns (N, C, H, W) images correlated with one (21, 21) kernel, borders reflected (`cv2.filter2D`'s default).

    Outer rings of the kernel that are 0, or too small for float32, are left out. On a CPU a kernel with a side of up to
    `DIRECT` pixels is convolved directly, which is two to five times as fast; else by FFT, which TF32 does not change.
    """
    margin = _empty_rings(kernel)
    if margin == SIDE // 2 and float(kernel[margin, margin]) == 1.0:
        return images
    kernel = kernel[margin : SIDE - margin, margin : SIDE - margin].to(images)
    side = kernel.shape[0]
    padded = reflect_pad(images, side // 2)
    if side <= DIRECT and images.device.type == 'cpu':
        return _convolved(padded, kernel)
    height, width = padded.shape[-2:]
    size = _fast_length(height), _fast_length(width)
    spectrum = torch.fft.rfft2(padded, s=size).mul_(torch.fft.rfft2(kernel.flip(0, 1), s=size))
    return torch.fft.irfft2(spectrum, s=size)[..., side - 1 : height, side - 1 : width]


def _empty_rings(kernel: Tensor) -> int:
    """Number of outer rings of a kernel that are left out: their weights sum to `NEGLIGIBLE` at most."""
    centre = SIDE // 2
    weights = kernel.abs().double()
    total = float(weights.sum())
    for margin in range(centre, 0, -1):
        if total - float(weights[margin : SIDE - margin, margin : SIDE - margin].sum()) <= NEGLIGIBLE:
            return margin
    return 0


def _convolved(padded: Tensor, kernel: Tensor) -> Tensor:
    """Convolves each plane as a channel of one image, which is much faster than as an image of one channel."""
    planes, side = padded.flatten(0, 1).unsqueeze(0), kernel.shape[0]
    result = F.conv2d(planes, kernel.expand(planes.shape[1], 1, side, side), groups=planes.shape[1])
    return result.view(*padded.shape[:2], *result.shape[-2:])


def resize(images: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """Returns (N, C, h, w) images resized to `size`. `bilinear` and `bicubic` alias when downscaling."""
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    if mode == 'area':
        return F.interpolate(images, size=size, mode='area')
    kind, _, antialias = mode.partition('_')
    return F.interpolate(images, size=size, mode=kind, align_corners=False, antialias=bool(antialias))


def _blur_resize_noise(images: Tensor, stage: StageParams, base: tuple[int, ...], key: tuple[int, ...]) -> Tensor:
    images = filter2d(images, stage.kernel)
    size = max(1, int(base[0] * stage.factor)), max(1, int(base[1] * stage.factor))
    noisy = add_noise(resize(images, size, stage.mode).clamp(0, 1), stage.noise, key)
    return dithered(add_halo(noisy, stage.halo, stage.halo_sigma), stage.dither, stage.levels)


def _fast_length(length: int) -> int:
    """Returns the next length whose only prime factors are 2, 3 and 5."""
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 1
