"""Halos and dithering: OpenCV's unsharp mask, the dithering rules as loops, and Pillow's GIF."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from metaf2n_arch.degradation import DegradationConfig, DegradationParams, apply
from metaf2n_arch.degradation.finishing import add_halo, dithered
from metaf2n_arch.utils.options import parse_block


@pytest.fixture
def photos(astronaut_tensor) -> torch.Tensor:
    return torch.cat([astronaut_tensor[..., y : y + 45, 150:187] for y in (30, 200)])


@pytest.mark.parametrize(('strength', 'sigma'), [(0.5, 0.5), (1.5, 1.0), (2.0, 2.0)])
def test_halo_is_opencvs_unsharp_mask(photos, strength, sigma) -> None:
    ours = add_halo(photos, strength, sigma)
    side = 2 * int(4 * sigma + 0.5) + 1
    for picture, halo in zip(photos, ours):
        x = picture.permute(1, 2, 0).double().numpy()
        blurred = cv2.GaussianBlur(x, (side, side), sigma, borderType=cv2.BORDER_REFLECT_101)
        expected = np.clip(cv2.addWeighted(x, 1 + strength, blurred, -strength, 0), 0, 1)
        np.testing.assert_allclose(halo.permute(1, 2, 0).numpy(), expected, atol=2e-6)


def test_halo_overshoots_at_an_edge_and_leaves_flat_areas() -> None:
    step = torch.full((1, 3, 20, 40), 0.3)
    step[..., 20:] = 0.7
    row = add_halo(step, 1.0, 1.5)[0, 0, 10]
    assert row[19] < 0.25
    assert row[20] > 0.75
    torch.testing.assert_close(row[:10], torch.full((10,), 0.3))
    assert add_halo(step, 0.0, 1.5) is step


def bayer(n: int) -> np.ndarray:
    """The thresholds by their recursion: M(2n) = [[4M, 4M + 2], [4M + 3, 4M + 1]]."""
    matrix = np.zeros((n, n), int)
    for y in range(n):
        for x in range(n):
            for bit in range(3):
                a, b = (x >> bit) & 1, (y >> bit) & 1
                matrix[y, x] |= ((2 * (a ^ b)) | b) << (2 * (2 - bit))
    return matrix


@pytest.mark.parametrize('levels', [2, 5, 16])
def test_ordered_dithering_is_the_rule_pixel_by_pixel(photos, levels) -> None:
    ours = dithered(photos, 'ordered', levels)
    matrix = bayer(8)
    assert sorted(matrix.flatten()) == list(range(64))
    for y in range(0, 45, 3):
        for x in range(0, 37, 3):
            threshold = (matrix[y % 8, x % 8] + 0.5) / 64
            expected = torch.floor(photos[:, :, y, x] * (levels - 1) + threshold).clamp(max=levels - 1) / (levels - 1)
            torch.testing.assert_close(ours[:, :, y, x], expected)
    assert len(ours.unique()) <= levels


def test_ordered_dithering_keeps_the_mean_of_every_tone() -> None:
    for tone in (0.1, 0.33, 0.5, 0.9):
        flat = torch.full((1, 3, 64, 64), tone)
        assert dithered(flat, 'ordered', 2).mean().item() == pytest.approx(tone, abs=1 / 64)


@pytest.mark.parametrize('colours', [4, 32])
def test_error_diffusion_is_what_a_gif_shows(photos, tmp_path, colours) -> None:
    ours = dithered(photos, 'floyd_steinberg', colours)
    for picture, few in zip(photos, ours):
        original = Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).numpy())
        palette = original.quantize(colours, Image.Quantize.MEDIANCUT)
        original.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(tmp_path / 'picture.gif')
        shown = np.asarray(Image.open(tmp_path / 'picture.gif').convert('RGB'))
        assert np.array_equal((few * 255).round().byte().permute(1, 2, 0).numpy(), shown)
        assert len(np.unique(shown.reshape(-1, 3), axis=0)) <= colours
    # The error is spread: local means stay nearer to the photo than by the palette's nearest colours alone.
    mean, nearest = torch.nn.functional.avg_pool2d, []
    for picture in photos:
        original = Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).numpy())
        shown = original.quantize(colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).convert('RGB')
        nearest.append(torch.from_numpy(np.array(shown)).permute(2, 0, 1) / 255)
    plain = torch.stack(nearest)
    assert (mean(ours, 5) - mean(photos, 5)).abs().mean() < (mean(plain, 5) - mean(photos, 5)).abs().mean()


def config(**stage2) -> DegradationConfig:
    plain = {'blur_prob': 0, 'resize_prob': {'keep': 1}, 'noise_prob': {'none': 1}, 'jpeg_prob': 0}
    block = {'scale': 1, 'stage1': plain, 'stage2': {**plain, **stage2}, 'final_sinc_prob': 0}
    return parse_block(DegradationConfig, block, 'degradation')


def test_a_degradation_sharpens_and_then_dithers(photos) -> None:
    both = config(
        halo_prob=1, halo_strength=[1.2, 1.2], halo_sigma=[1.0, 1.0], dither_prob={'ordered': 1}, dither_levels=[6, 6]
    )
    params = both.sample(np.random.default_rng(0))
    expected = (dithered(add_halo(photos, 1.2, 1.0), 'ordered', 6) * 255).round() / 255
    torch.testing.assert_close(apply(photos, params), expected)
    for again in (DegradationParams.from_tensors(params.to_tensors()), DegradationParams.from_dict(params.to_dict())):
        assert torch.equal(apply(photos, again), apply(photos, params))


def test_halos_and_dithering_are_drawn_as_configured() -> None:
    some = config(
        halo_prob=0.4, halo_strength=[1, 2], dither_prob={'none': 0.5, 'ordered': 0.2, 'floyd_steinberg': 0.3}
    )
    rng = np.random.default_rng(0)
    stages = [some.sample(rng).stages[1] for _ in range(1500)]
    strengths = np.array([s.halo for s in stages if s.halo])
    assert len(strengths) / 1500 == pytest.approx(0.4, abs=0.04)
    assert strengths.mean() == pytest.approx(1.5, abs=0.05)
    assert {s.levels for s in stages if s.dither != 'none'} == set(range(4, 33))
    shares = [np.mean([s.dither == kind for s in stages]) for kind in ('ordered', 'floyd_steinberg')]
    np.testing.assert_allclose(shares, [0.2, 0.3], atol=0.04)
