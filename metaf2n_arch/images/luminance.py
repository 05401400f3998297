"""Luminance of images: the BT.601 weighted sum of red, green and blue."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (BT.601, full range)."""


def luminance(x: Tensor) -> Tensor:
    """Returns the BT.601 luminance (..., 1, H, W) of RGB images (..., 3, H, W); images of one channel as they are.

    Raises:
        ValueError: another number of channels.

    >>> luminance(torch.ones(1, 3, 2, 2)).shape
    torch.Size([1, 1, 2, 2])
    """
    if x.shape[-3] == 1:
        return x
    if x.shape[-3] != 3:
        raise ValueError(f'The images have {x.shape[-3]} channels, expected 3 (RGB) or 1.')
    return _Luminance.apply(x)


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _luma(device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.tensor(LUMA, device=device, dtype=dtype).view(3, 1, 1)


class _Luminance(torch.autograd.Function):
    """The weighted sum with less memory: neither value nor gradient needs a weighted copy of the image."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        red, green, blue = x.unbind(-3)
        return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2]).unsqueeze(-3)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * _luma(gradient.device, gradient.dtype)
