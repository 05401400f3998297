"""Helpers of the metrics: checks of BasicSR's images, and NaN for a value that cannot be measured."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metaf2n_arch.utils.checks import OptionError, nearest

# BasicSR's root logger, got by its name, because `get_root_logger` would set up the handlers of the log
LOGGER = logging.getLogger('basicsr')
_told: set[tuple[str, str]] = set()


def missing(metric: str, reason: object) -> float:
    """Returns NaN, which stands for a value that could not be measured, and logs each reason once."""
    line = str(reason).strip().split('\n')[0].rstrip('.') or type(reason).__name__
    if (metric, line) not in _told:
        _told.add((metric, line))
        LOGGER.warning('%s cannot be measured: %s.', metric, line)
    return float('nan')


def measured(function: Callable[..., Any]) -> Callable[..., float]:
    """Makes a metric that never ends a run: any error while measuring becomes NaN, its reason is logged once.

    A wrong option still raises `OptionError`, which names the nearest known option.
    """
    name = function.__name__
    signature = inspect.signature(function)

    @functools.wraps(function)
    def metric(*args: Any, **options: Any) -> float:
        try:
            signature.bind(*args, **options)
        except TypeError as error:
            unknown = next((key for key in options if key not in signature.parameters), '')
            raise OptionError(f'{name}: {error}.{nearest(unknown, signature.parameters)}') from None
        try:
            value = float(function(*args, **options))
        except OptionError:
            raise
        except Exception as error:  # no error of a metric may end hours of training
            return missing(name, error)
        return missing(name, 'the result is not a number') if value != value else value

    return metric


def checked_image(name: str, image: np.ndarray | None, crop_border: int = 0) -> np.ndarray:
    """Returns an 8-bit image as (H, W, 3) BGR without its border; gray images get three equal channels.

    Raises:
        ValueError: if there is no image, it is not uint8 of shape (H, W, 3) or (H, W), or the border is all of it.
    """
    if image is None:
        raise ValueError(f'there is no {name} to compare with')
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        raise ValueError(f'the {name} is {getattr(image, "dtype", type(image).__name__)}, expected an array of uint8')
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3):
        raise ValueError(f'the {name} has shape {image.shape}, expected (H, W, 3) or (H, W)')
    if min(image.shape[:2]) <= 2 * crop_border:
        raise ValueError(
            f'the {name} is {image.shape[0]}x{image.shape[1]}, too small for a crop_border of {crop_border}'
        )
    if crop_border:
        image = image[crop_border:-crop_border, crop_border:-crop_border]
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image


def checked_pair(img: np.ndarray, img2: np.ndarray | None, crop_border: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns both images as `checked_image` does.

    Raises:
        ValueError: also if their sizes differ.
    """
    first, second = checked_image('result', img, crop_border), checked_image('reference', img2, crop_border)
    if first.shape != second.shape:
        raise ValueError(f'the result has shape {first.shape} and the reference {second.shape}; they must be equal')
    return first, second


def as_tensor(image: np.ndarray, device: torch.device | str = 'cpu') -> Tensor:
    """Returns an (H, W, 3) BGR image of 8 bits as a (1, 3, H, W) RGB float32 tensor in [0, 1]."""
    rgb = np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1))
    return torch.from_numpy(rgb)[None].to(device).float() / 255
