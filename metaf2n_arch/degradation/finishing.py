"""Finishing of a picture by cameras and old programs: halos by over-sharpening, and dithering to few colours."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from metaf2n_arch.degradation import kernels

# Bayer's 8 x 8 matrix of thresholds, (0..63 + 1/2) / 64.
_BAYER = np.array([[0]])
for _ in range(3):
    _BAYER = np.block([[4 * _BAYER, 4 * _BAYER + 2], [4 * _BAYER + 3, 4 * _BAYER + 1]])


def add_halo(images: Tensor, strength: float, sigma: float) -> Tensor:
    """Returns x + strength (x - G_σ * x), clipped: unsharp masking, whose overshoot gives halos along edges.

    Args:
        images: (N, C, H, W) in [0, 1].
        strength: amount; 0 changes nothing.
        sigma: σ of the Gaussian in pixels; its kernel reaches 4 σ, borders are reflected.
    """
    if not strength:
        return images
    reach = min(int(4 * sigma + 0.5), images.shape[-1] - 1, images.shape[-2] - 1)
    line = torch.from_numpy(kernels.gaussian(2 * reach + 1, sigma).sum(0)).to(images)
    blurred = F.pad(images, (reach,) * 4, mode='reflect').flatten(0, 1).unsqueeze(1)
    blurred = F.conv2d(F.conv2d(blurred, line.view(1, 1, -1, 1)), line.view(1, 1, 1, -1)).view_as(images)
    return (images + strength * (images - blurred)).clamp(0, 1)


def dithered(images: Tensor, kind: str, levels: int) -> Tensor:
    """Returns the images dithered to few colours.

    Args:
        images: (N, 3, H, W) RGB in [0, 1].
        kind: 'none'; 'ordered': each channel rounded to `levels` values with Bayer's 8 x 8 thresholds;
            'floyd_steinberg': error diffusion to a palette of `levels` colours made from the image, as for a GIF
            (Pillow, median cut).
        levels: 2 to 256.
    """
    if kind == 'none':
        return images
    if kind == 'ordered':
        height, width = images.shape[-2:]
        tiles = -(-height // 8), -(-width // 8)
        threshold = torch.from_numpy((np.tile(_BAYER, tiles)[:height, :width] + 0.5) / 64).to(images)
        return torch.floor(images * (levels - 1) + threshold).clamp(0, levels - 1) / (levels - 1)
    pixels = torch.round(images.clamp(0, 1) * 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    few = torch.from_numpy(np.stack([_few_colours(picture, levels) for picture in pixels]))
    return few.to(images.device).permute(0, 3, 1, 2).contiguous().float() / 255


def _few_colours(pixels: np.ndarray, colours: int) -> np.ndarray:
    from PIL import Image

    picture = Image.fromarray(pixels)
    palette = picture.quantize(colours, Image.Quantize.MEDIANCUT)
    return np.asarray(picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).convert('RGB'))
