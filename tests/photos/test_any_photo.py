"""Photos of any size, kind, format and orientation: restored by a repeat of their pixels, as Pillow sees them."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, features

from metaf2n_arch.faces.detector import Detector, DetectorOptions, Face
from metaf2n_arch.faces.restorer import IdentityRestorer
from metaf2n_arch.images.reading import image_size, read_photo
from metaf2n_arch.inference import MetaF2N, RestoreOptions
from metaf2n_arch.photos.jobs import collect
from metaf2n_arch.photos.restoring import restore_photos
from metaf2n_arch.weights.loading import Generator

MODES = {
    'png': ('1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'I;16'),
    'tif': ('1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', 'YCbCr', 'I;16'),
    'jpg': ('L', 'RGB', 'CMYK', 'YCbCr'),
    'bmp': ('1', 'L', 'P', 'RGB', 'RGBA'),
    'gif': ('1', 'L', 'P', 'RGB', 'RGBA'),
    'ppm': ('1', 'L', 'RGB'),
    'tga': ('1', 'L', 'LA', 'P', 'RGB', 'RGBA'),
} | ({'webp': ('L', 'RGB', 'RGBA')} if features.check('webp') else {})
KINDS = [(suffix, mode) for suffix, modes in MODES.items() for mode in modes]
sides = st.integers(1, 40)
PHASES = set(Phase) - {Phase.explain}


class NoFaces(Detector):
    def detect(self, image: np.ndarray) -> list[Face]:
        return []


@lru_cache(maxsize=3)
def repeating(scale: int) -> MetaF2N:
    net = torch.nn.Upsample(scale_factor=scale)
    parts = Generator(net, scale), None, NoFaces(DetectorOptions(type='cascade')), IdentityRestorer()
    return MetaF2N(*parts, torch.device('cpu'), RestoreOptions(tile=0))


def photo(astronaut: np.ndarray, height: int, width: int, mode: str) -> Image.Image:
    """A piece of the photo; its alpha is another piece, with some pixels of none."""
    rgb, other = astronaut[60 : 60 + height, 180 : 180 + width], astronaut[200 : 200 + height, 60 : 60 + width, 0]
    if mode == 'I;16':
        return Image.fromarray(rgb[..., 0].astype(np.uint16) * 256 + other)
    if mode in ('LA', 'RGBA'):
        return Image.fromarray(np.dstack([rgb, np.where(other < 60, 0, other)])).convert(mode)
    return Image.fromarray(rgb).convert(mode)


def seen_by_pillow(path: Path) -> np.ndarray:
    """(H, W, 3 or 4) of 8 bits, or (H, W) of 16, upright."""
    with Image.open(io.BytesIO(path.read_bytes())) as image:  # it maps plain TIFF files, and turns these wrongly
        upright = ImageOps.exif_transpose(image)
        if image.mode == 'I;16':
            return np.asarray(upright)
        clear = 'transparency' in image.info or image.mode in ('RGBA', 'LA', 'PA')
        return np.asarray(upright.convert('RGBA' if clear else 'RGB'))


def coloured(pixels: np.ndarray) -> np.ndarray:
    """Grey, with alpha or not, in three equal channels."""
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=2)
    return pixels[..., [0, 0, 0, 1]] if pixels.shape[2] == 2 else pixels


@pytest.mark.parametrize(('suffix', 'mode'), KINDS)
@settings(max_examples=5, deadline=None, derandomize=True, phases=PHASES)
@given(sides, sides, st.integers(1, 3), st.integers(1, 8), st.sampled_from(['png', 'tiff']))
def test_a_photo_is_restored_as_pillow_sees_it(
    astronaut, tmp_path_factory, suffix, mode, height, width, scale, orientation, written
):
    folder = tmp_path_factory.mktemp('photo')
    path = folder / f'a.{suffix}'
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = {'exif': exif} if suffix in ('png', 'tif', 'jpg', 'webp') else {}
    photo(astronaut, height, width, mode).save(path, **turned, **({'lossless': True} if suffix == 'webp' else {}))

    wanted = seen_by_pillow(path)
    assert image_size(path) == wanted.shape[:2]
    [outcome] = restore_photos(repeating(scale), collect([path], folder / 'out', written))
    assert outcome.failed is None, outcome
    result = read_photo(outcome.job.target).pixels
    assert result.dtype == wanted.dtype
    found = coloured(result)
    expected = coloured(wanted).repeat(scale, 0).repeat(scale, 1)
    assert found.shape == expected.shape
    visible = expected[..., 3:] > 0 if expected.shape[2] == 4 else True
    # Grey passes through the weights of luminance, whose sum is one but for a rounding.
    tolerance = 1 if result.ndim == 2 or result.shape[2] == 2 else 0
    assert np.abs((found.astype(int) - expected)[..., :3] * visible).max() <= tolerance
    if scale == 1:  # alpha is no matter of the network: it is enlarged bicubically
        assert np.array_equal(found[..., 3:], expected[..., 3:])
