"""Colour under alpha: what is seen is untouched, and no rim comes from what is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from metaf2n_arch.images.alpha import bleed
from metaf2n_arch.images.kinds import as_rgb, like_input
from metaf2n_arch.images.reading import read_photo


def on_white(image: np.ndarray) -> np.ndarray:
    alpha = image[..., 3:] / 255
    return image[..., :3] * alpha + 255 * (1 - alpha)


def test_an_enlarged_sticker_has_no_dark_rim(data_dir):
    """Against the same enlargement of premultiplied colours, which is exact."""
    image = read_photo(data_dir / 'odd' / 'alpha_sticker.png').pixels
    alpha = image[..., 3:].astype(np.float32) / 255

    def enlarged(array: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(array.astype(np.float32)).permute(2, 0, 1)[None]
        return F.interpolate(tensor, scale_factor=4, mode='bicubic', align_corners=False)

    ours = on_white(like_input((enlarged(as_rgb(image)) / 255).clamp(0, 1), image).astype(np.float32))
    careless = on_white(like_input((enlarged(image[..., :3]) / 255).clamp(0, 1), image).astype(np.float32))
    exact = enlarged(image[..., :3] * alpha) + 255 * (1 - enlarged(alpha))
    exact = exact[0].permute(1, 2, 0).clamp(0, 255).numpy()
    assert np.abs(ours - exact).max() < 0.35 * np.abs(careless - exact).max()
    assert np.abs(ours - exact).mean() < 0.35 * np.abs(careless - exact).mean()


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32])
def test_what_is_visible_is_untouched_and_what_is_not_continues_it(astronaut, dtype):
    colours = astronaut[:33, :50].astype(dtype)
    alpha = np.zeros((33, 50), dtype)
    alpha[10:20, 15:40] = 200
    colours[alpha == 0] = 0
    result = bleed(colours, alpha)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result[alpha > 0], colours[alpha > 0])
    assert np.abs(result[9, 15:40].astype(float) - colours[10, 15:40]).mean() < 25
    seen = colours[alpha > 0]
    assert ((result >= seen.min(0)) & (result <= seen.max(0))).all()


def test_nothing_to_see_and_nothing_hidden_are_left_alone(astronaut):
    for value in (0, 255):
        assert bleed(astronaut, np.full((512, 512), value, np.uint8)) is astronaut
