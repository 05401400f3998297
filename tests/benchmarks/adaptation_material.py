"""Material of the two studies of adaptation: photos, degradations and supports, drawn from seeds, not stored.

A photo is a float32 tensor (3, H, W), RGB in [0, 1], sides divisible by the scale of 4.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from metaf2n_arch.data.prepare.degrade import draw
from metaf2n_arch.degradation import apply
from metaf2n_arch.images.arrays import to_tensor
from metaf2n_arch.images.formats import is_image_name
from metaf2n_arch.images.reading import read_image
from metaf2n_arch.utils.rng import numpy_generator

SCALE = 4
FAMILIES = ('iid', 'ood')
SUPPORTS = ('true face', 'erring face')
"""High-quality face of the support: the true face, an upper bound; or the true face with errors as of a restorer."""

SET14 = ('baboon', 'flowers', 'monarch', 'pepper', 'zebra', 'coastguard', 'ppt3', 'bridge')
"""Photographs of Set14 without a face."""


@dataclass(frozen=True)
class Photo:
    """A clean photo and, if it shows one, the box of its face as top, left, height, width in its pixels."""

    name: str
    image: Tensor
    face: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class Case:
    """One photo with one degradation."""

    photo: Photo
    family: str
    seed: int
    lq: Tensor

    def face(self, support: str) -> tuple[Tensor, Tensor]:
        """The pair (X, Y) for `adapt_to_faces`: the face in the degraded photo, and the high-quality face."""
        assert self.photo.face is not None
        y, x, height, width = self.photo.face
        truth = self.photo.image if support == 'true face' else erring(self.photo.image, self.seed)
        window = [v // SCALE for v in self.photo.face]
        return (
            self.lq[:, window[0] : window[0] + window[2], window[1] : window[1] + window[3]],
            truth[:, y : y + height, x : x + width],
        )


def degraded(photo: Photo, family: str, seed: int) -> Case:
    """Draws a degradation for one photo; the draw depends on its name, the family and the seed."""
    params = draw(photo.name, family, SCALE, seed)
    return Case(photo, family, seed, apply(photo.image[None], params)[0])


def erring(face: Tensor, seed: int) -> Tensor:
    """A face with errors as of a face restorer: slight blur, a shift of one pixel, a colour cast, wrong texture.

    Args:
        face: (3, H, W) RGB in [0, 1].
        seed: seed of the colour cast and of the texture.
    """
    rng = numpy_generator(20_261_118, seed)
    shifted = torch.roll(face, (1, 1), (-2, -1))
    cast = torch.from_numpy(rng.normal(0, 1, 3)).float()
    cast = 0.02 * cast / cast.norm() * 3**0.5  # 5 of 255 in the root mean square over the channels
    noise = torch.from_numpy(rng.normal(0, 1, face.shape[-2:])).float()[None]
    texture = blur(noise, 0.7) - blur(noise, 2.0)  # as fine as skin and hair
    texture = 0.02 * texture / texture.std()
    return (blur(shifted, 0.8) + cast[:, None, None] + texture).clamp(0, 1)


def blur(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (..., C, H, W) images, borders reflected; differentiable."""
    radius = min(int(np.ceil(3 * sigma)), min(images.shape[-2:]) - 1)
    offsets = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    flat = images.reshape(-1, 1, *images.shape[-2:])
    padded = F.pad(flat, (radius,) * 4, mode='reflect')
    padded = F.conv2d(padded, kernel.view(1, 1, 1, -1))
    return F.conv2d(padded, kernel.view(1, 1, -1, 1)).reshape(images.shape)


def put_low_back(output: Tensor, lq: Tensor, sigma: float = 2.0) -> Tensor:
    """``output + up(low(lq) - low(down(output)))``, differentiable: `output` with the low frequencies of `lq`."""
    missing = blur(lq, sigma) - blur(F.interpolate(output, size=lq.shape[-2:], mode='area'), sigma)
    return output + F.interpolate(missing, scale_factor=SCALE, mode='bicubic', align_corners=False)


def square(image: Tensor, side: int) -> Tensor:
    """The largest central square, area-averaged to `side`; (3, H, W) -> (3, side, side)."""
    length = min(image.shape[-2:])
    top, left = ((size - length) // 2 for size in image.shape[-2:])
    return F.interpolate(image[None, :, top : top + length, left : left + length], size=(side, side), mode='area')[0]


def centre(image: Tensor, side: int) -> Tensor:
    """The central `side` x `side` pixels without resizing; smaller images are cropped to a multiple of the scale."""
    sizes = [min(side, size // SCALE * SCALE) for size in image.shape[-2:]]
    top, left = ((full - size) // 2 for full, size in zip(image.shape[-2:], sizes))
    return image[:, top : top + sizes[0], left : left + sizes[1]]


def images_of(folder: Path) -> list[Path]:
    """The images in a folder, sorted by name."""
    return sorted(path for path in folder.iterdir() if is_image_name(path.name))


def portraits(files: Iterable[Path], side: int = 256) -> list[Photo]:
    """Aligned face photos, area-averaged to `side`; the face is 5/8 of the side, in the middle."""
    length = side * 5 // 8 // SCALE * SCALE
    corner = (side - length) // 2 // SCALE * SCALE
    return [Photo(f.stem, square(to_tensor(read_image(f)), side), (corner, corner, length, length)) for f in files]


def set14(folder: Path, names: Iterable[str] = SET14, side: int = 256) -> list[Photo]:
    """The centres of Set14's photographs without a face."""
    return [Photo(name, centre(to_tensor(read_image(folder / f'{name}.png')), side)) for name in names]
