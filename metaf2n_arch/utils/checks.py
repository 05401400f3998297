"""Errors a user can act on: what was wrong, what was expected, what to do."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # so that the command line can name an error without loading torch
    from torch import Tensor


class OptionError(ValueError):
    """A wrong option: one line naming the place, what was expected and the nearest known key."""


class DataError(ValueError):
    """A file or folder that cannot be used: one line naming it, the reason and the remedy."""


class TrainingDiverged(RuntimeError):
    """Too many steps in a row whose loss or gradient is not finite: one line with the iteration and the remedy."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns ``" Did you mean 'x'?"`` for the known name closest to `name`, whatever its case, or an empty string.

    >>> nearest('inner_lrr', ['inner_lr', 'inner_steps'])
    " Did you mean 'inner_lr'?"
    """
    by_lower_case = {str(k).lower(): str(k) for k in known}
    match = difflib.get_close_matches(str(name).lower(), by_lower_case, n=1, cutoff=0.6)
    return f" Did you mean '{by_lower_case[match[0]]}'?" if match else ''


def require_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Raises `OptionError` unless `value` is one of `choices`."""
    choices = list(choices)
    if value not in choices:
        raise OptionError(f'{name} is {value!r}, expected one of {choices}.{nearest(str(value), choices)}')


def require_number(name: str, value: object) -> None:
    """Raises `OptionError` unless `value` is a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        hint = ' YAML reads 1e-3 as text: write 1.0e-3.' if isinstance(value, str) else ''
        raise OptionError(f'{name} is {value!r}, expected a finite number.{hint}')


def make_folder(folder: Path) -> None:
    """Makes a folder and its parents.

    Raises:
        DataError: it cannot be made, or nothing can be written into it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f'{folder} cannot be made: {error.strerror}; give another folder.') from None
    if not os.access(folder, os.W_OK):
        raise DataError(f'{folder} cannot be written to; give another folder.')


def require_image_batch(name: str, x: Tensor, channels: int | None = None) -> None:
    """Raises `ValueError` unless `x` is a real floating-point (B, C, H, W) tensor, C equal to `channels` if given.

    Reads shape and dtype only, never values, so that it costs nothing on a GPU.
    """
    wanted = f'(B, {channels if channels is not None else "C"}, H, W)'
    if x.ndim != 4 or (channels is not None and x.shape[1] != channels):
        raise ValueError(f'{name} has shape {tuple(x.shape)}, expected {wanted}.')
    if not x.is_floating_point():
        raise ValueError(f'{name} has dtype {x.dtype}, expected a floating-point image in [0, 1].')


def require_same_shape(name_a: str, a: Tensor, name_b: str, b: Tensor) -> None:
    """Raises `ValueError` unless both tensors have one shape."""
    if a.shape != b.shape:
        raise ValueError(f'{name_a} has shape {tuple(a.shape)} and {name_b} {tuple(b.shape)}; they must be equal.')
