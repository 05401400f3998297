"""Arrays of all kinds to RGB and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metaf2n_arch.images.kinds import as_rgb, like_input, resized
from metaf2n_arch.images.sizes import output_size
from metaf2n_arch.utils.checks import OptionError

KINDS = [np.uint8, np.uint16, np.float16, np.float32, np.float64]


def of_kind(image: np.ndarray, dtype: type) -> np.ndarray:
    if np.issubdtype(dtype, np.floating):
        return (image / 255).astype(dtype)
    return image.astype(dtype) * (np.iinfo(dtype).max // 255)


@pytest.mark.parametrize('dtype', KINDS)
@pytest.mark.parametrize('channels', [0, 1, 2, 3, 4])
def test_going_to_rgb_and_back_at_the_same_size_changes_nothing(astronaut, dtype, channels):
    rgba = np.dstack([astronaut, astronaut[::-1, :, 0]])[:20, :30]
    picked = {0: rgba[..., 0], 1: rgba[..., :1], 2: rgba[..., [0, 3]], 3: rgba[..., :3], 4: rgba}[channels]
    image = of_kind(picked, dtype)
    colours = as_rgb(image)
    assert colours.shape == (20, 30, 3)
    levels = np.iinfo(dtype).max if image.dtype.kind == 'u' else 1
    tensor = torch.from_numpy(colours.astype(np.float64) / levels).permute(2, 0, 1)[None].float()
    back = like_input(tensor, image)
    assert (back.shape, back.dtype) == (image.shape, image.dtype)
    assert np.abs(back.astype(np.float64) - image).max() <= (1e-3 if dtype == np.float16 else 1e-6 * levels)


def test_alpha_is_enlarged_on_its_own(astronaut):
    image = np.dstack([astronaut[:8, :8], np.full((8, 8), 255, np.uint8)])
    image[:, :4, 3] = 0
    result = like_input(torch.zeros(1, 3, 32, 32), image)
    assert result.shape == (32, 32, 4)
    assert (result[:, :10, 3] == 0).all()
    assert (result[:, 22:, 3] == 255).all()


@pytest.mark.parametrize(
    ('image', 'message'),
    [
        (np.zeros((4, 4, 5), np.uint8), 'shape'),
        (np.zeros((0, 4, 3), np.uint8), 'shape'),
        (np.zeros((4,), np.uint8), 'shape'),
        (np.zeros((4, 4, 3), np.int32), 'int32'),
        (np.full((4, 4, 3), np.nan), 'not finite'),
    ],
)
def test_other_arrays_are_refused(image, message):
    with pytest.raises(ValueError, match=message):
        as_rgb(image)


def test_sizes_round_and_never_vanish(astronaut):
    assert output_size(astronaut[:101, :3], 0.1) == (10, 1)
    assert resized(torch.rand(1, 3, 40, 20), (10, 5)).shape == (1, 3, 10, 5)
    with pytest.raises(OptionError, match='outscale'):
        output_size(astronaut, 0)
