"""Helpers of the losses of two images: checks of the inputs, the reduction over a batch, nested losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from metaf2n_arch.utils.checks import OptionError, require_image_batch, require_same_shape
from metaf2n_arch.utils.registries import build


def require_pair(pred: Tensor, target: Tensor, channels: int | None = None) -> None:
    """Raises `ValueError` unless both are real floating-point image batches (B, C, H, W) of one shape."""
    require_image_batch('pred', pred, channels)
    require_image_batch('target', target, channels)
    require_same_shape('pred', pred, 'target', target)


def is_mean_over_images(loss: nn.Module) -> bool:
    """Whether the loss of a batch is the mean of the losses of its images.

    Losses of this package have the attribute `mean_over_images`; BasicSR's are known here by name. They are not known
    by class, because forks of BasicSR keep the classes in different files.
    """
    kind = type(loss)
    if kind.__module__.startswith('basicsr.'):
        if kind.__name__ in ('L1Loss', 'MSELoss', 'CharbonnierLoss'):
            return loss.reduction == 'mean'
        if kind.__name__ == 'PerceptualLoss':
            return loss.criterion_type != 'fro'
    return bool(getattr(loss, 'mean_over_images', False))


def at_least_float32(x: Tensor) -> Tensor:
    """Returns `x`, or its float32 copy if it has 16 bits: a spectrum spans more orders of magnitude than 16 bits do."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def require_order(name: str, order: object) -> None:
    """Raises `OptionError` unless `order`, the order of a norm, is 1 or 2."""
    if order not in (1, 2):
        raise OptionError(f'{name} order is {order!r}, expected 1 (sum of absolute values) or 2 (Euclidean).')


def nested_loss(owner: str, options: Mapping[str, Any] | nn.Module) -> nn.Module:
    """Builds the loss that another loss wraps, from its own block of options, which is not changed.

    Args:
        owner: type of the other loss, for messages.
        options: a mapping with the key ``type``, as in the list of losses, or a module that exists already.

    Raises:
        OptionError: if `type` is missing or unknown, or the loss does not accept its arguments.
    """
    return options if isinstance(options, nn.Module) else build(LOSS_REGISTRY, options, f'{owner}.loss')
