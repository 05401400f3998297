"""Every image that installed packages bring along: restored by an enlarging repeat, as Pillow sees it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from metaf2n_arch.faces.detector import Detector, DetectorOptions, Face
from metaf2n_arch.faces.restorer import IdentityRestorer
from metaf2n_arch.images.formats import is_image_name
from metaf2n_arch.images.reading import image_size, read_photo
from metaf2n_arch.inference import MetaF2N, RestoreOptions
from metaf2n_arch.photos.jobs import collect
from metaf2n_arch.photos.restoring import restore_photos
from metaf2n_arch.weights.loading import Generator

PACKAGES = ('PIL', 'skimage', 'imageio', 'matplotlib', 'sklearn', 'scipy', 'torchvision', 'gfpgan', 'facexlib')
LARGEST = [1 << 18, pytest.param(1 << 20, marks=pytest.mark.slow)]  # pixels


class NoFaces(Detector):
    """Finds nothing, at once."""

    def detect(self, image: np.ndarray) -> list[Face]:
        return []


def images_of(package: str) -> Iterator[Path]:
    spec = importlib.util.find_spec(package)
    for place in [] if spec is None else spec.submodule_search_locations or []:
        yield from (path for path in sorted(Path(place).rglob('*')) if is_image_name(path) and path.is_file())


def seen_by_pillow(path: Path, largest: int) -> np.ndarray | None:
    """(H, W, 3 or 4) of 8 bits; None for what Pillow alone cannot judge."""
    try:
        opened = Image.open(path)
    except UnidentifiedImageError:
        return None
    with opened as image:
        if image.mode[0] in 'IF' or image.width * image.height > largest:
            return None
        upright = ImageOps.exif_transpose(image)
        clear = 'transparency' in image.info or image.mode in ('RGBA', 'LA', 'PA')
        return np.asarray(upright.convert('RGBA' if clear else 'RGB'))


@pytest.mark.parametrize('largest', LARGEST)
@pytest.mark.parametrize('package', PACKAGES)
def test_every_image_of_a_package_is_restored_as_pillow_sees_it(package, largest, tmp_path):
    found = list(images_of(package))
    if not found:
        pytest.skip(f'{package} is not installed or brings no image')
    options = RestoreOptions(tile=0)
    net = torch.nn.Upsample(scale_factor=2)
    sr = MetaF2N(
        Generator(net, 2),
        None,
        NoFaces(DetectorOptions(type='cascade')),
        IdentityRestorer(),
        torch.device('cpu'),
        options,
    )
    compared = 0
    for path in found:
        wanted = seen_by_pillow(path, largest)
        if wanted is None:
            continue
        [outcome] = restore_photos(sr, collect([path], tmp_path / str(compared), 'png'))
        assert outcome.failed is None, outcome
        result = read_photo(outcome.job.target).pixels
        assert image_size(path) == wanted.shape[:2]
        result = result[::2, ::2] if result.dtype == np.uint8 else (result[::2, ::2] / 257).round().astype(np.uint8)
        if result.ndim == 2 or result.shape[2] == 2:
            grey = result if result.ndim == 2 else result[..., 0]
            result = np.dstack([grey, grey, grey] if result.ndim == 2 else [grey, grey, grey, result[..., 1]])
        visible = wanted[..., 3:] > 0 if wanted.shape[2] == 4 else np.ones((1, 1, 1), bool)
        assert result.shape == wanted.shape, path
        # Grey pictures pass through the weights of luminance, and come back within a level.
        assert (np.abs(result[..., :3].astype(int) - wanted[..., :3]) * visible).max() <= 1, path
        compared += 1
    if not compared:
        pytest.skip(f'{package} brings no image that Pillow alone can judge')
