"""Edge masks: the pixels whose self-similarity is compared (Chen et al., ACM MM 2024, arXiv 2408.05713, sec. 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor

from metaf2n_arch.utils.checks import require_image_batch


def luminance_8bit(image: Tensor) -> Tensor:
    """Returns the 8-bit luminance of an image, as integers.

    Y = (19595 R + 38470 G + 7471 B + 2¹⁵) >> 16, the integer arithmetic of Pillow's ``convert('L')``.

    Args:
        image: (B, C, H, W) RGB (C = 3) or grey (C = 1) in [0, 1]; it is rounded to 8 bits first.

    Returns:
        (B, 1, H, W), int32 in 0..255.

    Raises:
        ValueError: `image` is not a floating-point (B, 1, H, W) or (B, 3, H, W) tensor.

    >>> luminance_8bit(torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)).item()
    76
    """
    require_image_batch('image', image)
    if image.shape[1] not in (1, 3):
        raise ValueError(f'image has {image.shape[1]} channels, expected 3 (RGB) or 1 (grey).')
    # Half precision cannot hold 255 steps of 1/255 exactly enough to round them.
    wide = image.detach().to(torch.promote_types(image.dtype, torch.float32))
    eight = (wide.clamp(0, 1) * 255).round().to(torch.int32)
    if eight.shape[1] == 1:
        return eight
    red, green, blue = eight.unbind(1)
    return ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16).unsqueeze(1)


def edge_mask(image: Tensor, threshold: int = 20, stride: int = 1) -> Tensor:
    """Returns the mask of an image's edges: where the Laplacian of its 8-bit luminance exceeds a threshold.

    mask(p) = [clip(Σ_{q ∈ N4(p)} Y(q) - 4 Y(p), 0, 255) > threshold], as the authors' program computes it with OpenCV
    (kernel [0 1 0; 1 -4 1; 0 1 0], border reflected without repeating the edge pixel, output saturated to 8 bits, which
    drops every negative response).

    Args:
        image: (B, C, H, W) RGB or grey in [0, 1].
        threshold: 8-bit response that an edge pixel must exceed.
        stride: thins the mask, see `thin_mask`.

    Returns:
        (B, 1, H, W), bool, on the image's device.

    Raises:
        ValueError: not a floating-point image batch, or `stride` below 1.

    >>> bar = torch.ones(1, 3, 5, 5)
    >>> bar[..., 2] = 0
    >>> edge_mask(bar)[0, 0, 0].int().tolist()
    [0, 0, 1, 0, 0]
    """
    y = luminance_8bit(image)
    rows, columns = _reflect_101(y.shape[2], y.device), _reflect_101(y.shape[3], y.device)
    padded = y[:, :, rows][:, :, :, columns]
    centre = padded[:, :, 1:-1, 1:-1]
    vertical = padded[:, :, :-2, 1:-1] + padded[:, :, 2:, 1:-1]
    horizontal = padded[:, :, 1:-1, :-2] + padded[:, :, 1:-1, 2:]
    response = (vertical + horizontal - 4 * centre).clamp(0, 255)
    return thin_mask(response > threshold, stride)


def thin_mask(mask: Tensor, stride: int) -> Tensor:
    """Returns `mask` where y ≡ x (mod stride), False elsewhere: of each stride × stride block only the diagonal.

    Args:
        mask: (..., H, W), bool.
        stride: 1 keeps everything.

    Raises:
        ValueError: `stride` is below 1.

    >>> thin_mask(torch.ones(2, 3, dtype=torch.bool), 2).int().tolist()
    [[1, 0, 1], [0, 1, 0]]
    """
    if stride < 1:
        raise ValueError(f'mask_stride is {stride}, expected 1 (keep all) or more.')
    if stride == 1:
        return mask
    y = torch.arange(mask.shape[-2], device=mask.device)[:, None] % stride
    x = torch.arange(mask.shape[-1], device=mask.device) % stride
    return mask & (y == x)


def _reflect_101(size: int, device: torch.device) -> Tensor:
    """Indices that extend an axis by one pixel on both sides, reflected; an axis of one pixel repeats it."""
    inner = torch.arange(size, device=device)
    if size == 1:
        return inner.repeat(3)
    return torch.cat((inner[1:2], inner, inner[-2:-1]))
