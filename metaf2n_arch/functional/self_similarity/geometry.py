"""Geometry of the self-similarity graph, shared by all paths: sizes, borders, padding, positions and input checks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metaf2n_arch.utils.checks import OptionError, require_choice, require_image_batch, require_number

BORDERS = ('image', 'window')
EPSILON = 1e-10


@dataclass(frozen=True)
class Geometry:
    """Search window K × K, patch P × P, and the values of a patch outside the search window.

    `border='image'`: the patch around q is read from the reflect-padded image, as the equation says.
    `border='window'`: pixels of the patch around q outside p's search window count as 0 (the authors' program).
    """

    search_size: int
    patch_size: int
    border: str = 'image'

    def __post_init__(self) -> None:
        for name, size in (('search_size', self.search_size), ('patch_size', self.patch_size)):
            if isinstance(size, bool) or not isinstance(size, int) or size < 1 or size % 2 == 0:
                raise OptionError(f'{name} is {size!r}, expected an odd positive integer.')
        require_choice('border', self.border, BORDERS)
        if self.border == 'window' and self.patch_size > self.search_size:
            raise OptionError(
                f'patch_size is {self.patch_size} and search_size {self.search_size}; '
                "with border='window' the patch must fit into the search window. Use border='image'."
            )

    @property
    def radius(self) -> int:
        """Largest shift along one axis."""
        return self.search_size // 2

    @property
    def patch_radius(self) -> int:
        return self.patch_size // 2

    @property
    def pad(self) -> int:
        """Pixels of reflect padding that the patches reach."""
        return self.radius + (self.patch_radius if self.border == 'image' else 0)

    def extent(self, shift: int) -> tuple[int, int]:
        """First and last patch offset j, along one axis, at which q + j = p + shift + j is read from the image."""
        if self.border == 'image':
            return -self.patch_radius, self.patch_radius
        low = max(-self.patch_radius, -self.radius - shift)
        high = min(self.patch_radius, self.radius - shift)
        return low, high

    def check(self, image: Tensor, mask: Tensor, name: str = 'image') -> Tensor:
        """Returns `mask` as a bool (B, H, W) tensor on the image's device; only shapes and dtypes are read.

        Raises:
            ValueError: wrong shape or dtype, or an image too small to be reflect-padded.
        """
        require_image_batch(name, image)
        height, width = image.shape[-2:]
        least = self.pad + 1
        if height < least or width < least:
            raise ValueError(
                f'{name} is {height}×{width}; search_size {self.search_size} and patch_size {self.patch_size} with '
                f'border={self.border!r} need at least {least}×{least} pixels. Use larger crops or a smaller window.'
            )
        wanted = (image.shape[0], height, width)
        if mask.ndim == 4 and mask.shape[1] == 1:
            mask = mask[:, 0]
        if tuple(mask.shape) != wanted:
            raise ValueError(f'mask has shape {tuple(mask.shape)}, expected {wanted} or {(wanted[0], 1, *wanted[1:])}.')
        if mask.is_complex():
            raise ValueError(f'mask has dtype {mask.dtype}, expected bool, integer or float (non-zero = compared).')
        return (mask != 0).to(image.device)


def require_scale(h: float) -> None:
    """Raises `OptionError` unless `h` is a positive number."""
    require_number('h', h)
    if h <= 0:
        raise OptionError(f'h is {h!r}, expected a positive number.')


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype to compute in: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32
