"""Padding of images by reflection."""

from __future__ import annotations

import torch
from torch import Tensor


def reflect_pad(image: Tensor, pad: int) -> Tensor:
    """Pads an image (..., H, W) by reflection; the edge pixel is not repeated.

    It is written with flips, because the backward pass of PyTorch's own reflection padding uses atomic additions on a
    GPU, which are not deterministic.

    Args:
        image: (..., H, W).
        pad: pixels on each side; may be larger than the image.

    Returns:
        (..., H + 2·pad, W + 2·pad).

    >>> reflect_pad(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), 1)[0].tolist()
    [4.0, 3.0, 4.0, 3.0]
    """
    if pad == 0:
        return image
    if pad >= min(image.shape[-2:]):
        rows, columns = (_reflected(length, pad).to(image.device) for length in image.shape[-2:])
        return image[..., rows[:, None], columns]
    for axis in (-2, -1):
        size = image.shape[axis]
        before = image.narrow(axis, 1, pad).flip(axis)
        after = image.narrow(axis, size - pad - 1, pad).flip(axis)
        image = torch.cat((before, image, after), axis)
    return image


def reflect_pad_adjoint(gradient: Tensor, pad: int) -> Tensor:
    """Adjoint of `reflect_pad`: adds the gradient at each padded pixel to the pixel that it was copied from.

    Args:
        gradient: (..., H + 2·pad, W + 2·pad).
        pad: less than H and W.

    Returns:
        Gradient of the image, (..., H, W).
    """
    if pad == 0:
        return gradient
    for axis in (-1, -2):
        size = gradient.shape[axis] - 2 * pad
        inner = gradient.narrow(axis, pad, size).clone()
        inner.narrow(axis, 1, pad).add_(gradient.narrow(axis, 0, pad).flip(axis))
        inner.narrow(axis, size - pad - 1, pad).add_(gradient.narrow(axis, pad + size, pad).flip(axis))
        gradient = inner
    return gradient


def _reflected(length: int, margin: int) -> Tensor:
    """Returns the source index of each position from -margin to length + margin - 1, reflected as often as needed."""
    period = max(2 * (length - 1), 1)
    wrapped = torch.arange(-margin, length + margin).abs() % period
    return torch.minimum(wrapped, period - wrapped) if length > 1 else wrapped
