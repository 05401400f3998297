"""Low-frequency consistency against the equation as loops, closed forms, and truths of real photos."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metaf2n_arch.functional.gaussians import bands, low_pass, shrunk
from metaf2n_arch.functional.low_frequency import (
    EDGES,
    FORGIVEN,
    GAINS,
    GONE,
    correction,
    drift,
    low_frequency_fix,
    wavelet_fix,
)
from metaf2n_arch.functional.traits import Traits


def reflected(index: int, length: int) -> int:
    while not 0 <= index < length:
        index = -1 - index if index < 0 else 2 * length - 1 - index
    return index


def blur_by_loops(image: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian over (H, W), pixel by pixel, four standard deviations wide."""
    reach = math.ceil(4 * sigma)
    weights = {i: math.exp(-(i**2) / (2 * sigma**2)) for i in range(-reach, reach + 1)}
    total = sum(weights.values()) ** 2
    height, width = image.shape
    result = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            for dy, wy in weights.items():
                for dx, wx in weights.items():
                    result[y, x] += wy * wx * image[reflected(y + dy, height), reflected(x + dx, width)] / total
    return result


@pytest.fixture(scope='module')
def truth(astronaut_tensor: Tensor) -> Tensor:
    return astronaut_tensor[:, :, 16:176, 160:316]  # 160 x 156: the face


@pytest.fixture(scope='module')
def small(truth: Tensor) -> Tensor:
    return F.interpolate(truth, scale_factor=0.25, mode='bicubic', antialias=True).clamp(0, 1)


def psnr(a: Tensor, b: Tensor) -> float:
    return -10 * math.log10(float((a.clamp(0, 1) - b).square().mean()))


@pytest.mark.parametrize('size', [(7, 5), (1, 1), (2, 9), (1, 6)])
@pytest.mark.parametrize('sigma', [0.7, 2.0])
def test_low_pass_is_a_gaussian_reflected_as_often_as_needed(size, sigma):
    image = np.random.default_rng(0).random(size)
    found = low_pass(torch.from_numpy(image)[None, None], sigma)[0, 0].numpy()
    assert np.allclose(found, blur_by_loops(image, sigma), atol=1e-12)


def test_the_fix_is_the_equation(truth, small):
    x, y = small[:, :, :9, :7].double(), 0.8 * truth[:, :, :36, :28].double()
    means = y.numpy().reshape(1, 3, 9, 4, 7, 4).mean((3, 5))
    gap = np.stack([blur_by_loops(channel, 2.0) for channel in x[0].numpy() - means[0]])
    up = F.interpolate(torch.from_numpy(gap)[None], scale_factor=4, mode='bicubic', align_corners=False)
    found = low_frequency_fix(y, x, 2.0, one_sided=False)
    assert torch.allclose(found, y + up, atol=1e-12)
    assert drift(y, x).item() == pytest.approx(np.abs(gap).mean(), abs=1e-12)


def test_bands_add_up_and_lie_between_gaussians():
    image = np.random.default_rng(1).random((9, 7))
    x = torch.from_numpy(image)[None, None]
    found = bands(x, (0.7, 1.4))
    fine, coarse = blur_by_loops(image, 0.7), blur_by_loops(image, 1.4)
    for band, expected in zip(found, (image - fine, fine - coarse, coarse)):
        assert np.allclose(band[0, 0].numpy(), expected, atol=1e-12)


def test_the_fix_mixes_bands_by_noise_and_sharpness(truth, small):
    """Σ_b g_b (x_b - β_b small_b), band by band from loops, for one channel."""
    x, y = small[:, :1, :9, :7].double(), 0.8 * truth[:, :1, :36, :28].double()
    noise, sharp = 5 / 255, (0.3, 0.6)
    traits = Traits(torch.full((1, 1, 1, 1), noise).double(), torch.tensor(sharp).view(1, 2, 1, 1).double())
    means = y.numpy().reshape(9, 4, 7, 4).mean((1, 3))
    levels = [
        [image, *(blur_by_loops(image, sigma) for sigma in EDGES), 0 * image] for image in (x[0, 0].numpy(), means)
    ]
    expected = np.zeros((9, 7))
    for number, (gain, gone) in enumerate(zip(GAINS, GONE)):
        of_x, of_y = (level[number] - level[number + 1] for level in levels)
        asked = 1 - FORGIVEN * (1 - sharp[number]) if number < 2 else 1
        expected += gain * max(0, 1 - noise / gone) * (of_x - asked * of_y)
    found = correction(shrunk(y, 4), x, one_sided=False, traits=traits)
    assert np.allclose(found[0, 0].numpy(), expected, atol=1e-6)


def test_a_blurred_photo_does_not_soften_a_right_restoration_as_much_as_the_bare_gains(truth, small):
    blurred = low_pass(shrunk(truth, 4), 0.8)
    as_sharp = Traits(torch.zeros(1, 1, 1, 1), torch.ones(1, 2, 1, 1))
    loss = -psnr(low_frequency_fix(truth, blurred), truth)
    assert loss < -psnr(low_frequency_fix(truth, blurred, traits=as_sharp), truth) - 1
    assert loss < -psnr(low_frequency_fix(truth, blurred, 0.5, one_sided=False), truth) - 3


def test_a_restoration_with_the_photos_tones_stays_as_it_is(truth):
    assert torch.allclose(low_frequency_fix(truth, shrunk(truth, 4)), truth, atol=1e-6)
    assert drift(truth, shrunk(truth, 4)).item() < 1e-6


@pytest.mark.parametrize('fix', [low_frequency_fix, wavelet_fix])
def test_a_colour_cast_is_taken_away(fix, truth, small):
    cast = truth * 0.9 + torch.tensor([0.04, 0.0, -0.02]).view(1, 3, 1, 1)
    assert psnr(fix(cast, small), truth) > psnr(cast, truth) + 6
    assert drift(fix(cast, small), small).item() < 0.5 * drift(cast, small).item()


def test_fine_detail_stays(truth, small):
    """A grid of two pixels' period has no low frequencies: nothing is put in its place."""
    grid = 0.05 * (-1.0) ** torch.arange(truth.shape[-1])
    plain = low_frequency_fix(truth, small)
    assert torch.allclose(low_frequency_fix(truth + grid, small) - plain, grid.expand_as(truth), atol=1e-5)


def test_the_gradient_is_that_of_finite_differences(truth, small):
    x = small[:, :, :3, :2].double().requires_grad_()
    y = (0.5 + 0.3 * truth[:, :, :12, :8].double()).requires_grad_()
    assert torch.autograd.gradcheck(lambda y, x: low_frequency_fix(y, x, 2.0, one_sided=False), (y, x), fast_mode=True)
    assert torch.autograd.gradcheck(wavelet_fix, (y, x), fast_mode=True)


def test_the_correction_is_linear_in_the_gradient_even_where_it_fades(truth, small):
    """What is estimated on the way is a constant: a loss of the mean passes through as up and down say."""
    y = truth.clone().requires_grad_()
    low_frequency_fix(y, small).sum().backward()
    assert torch.isfinite(y.grad).all()


@pytest.mark.parametrize('end', ['white', 'black'])
def test_noise_cut_off_at_an_end_does_not_move_it(end):
    """Half of the noise on white is cut off, so that its mean is 0.4 standard deviations too dark."""
    truth = torch.full((1, 3, 128, 128), 1.0 if end == 'white' else 0.0)
    noise = 0.08 * torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    x = (shrunk(truth, 4) + noise).clamp(0, 1)
    assert (low_frequency_fix(truth, x, one_sided=False) - truth).abs().mean() > 0.025
    assert (low_frequency_fix(truth, x).clamp(0, 1) - truth).abs().mean() < 0.006
    # Towards the end a correction is kept: a restorer's grey on white paper goes.
    grey = truth.lerp(torch.full_like(truth, 0.5), 0.2)
    assert (low_frequency_fix(grey, x) - truth).abs().mean() < (grey - truth).abs().mean() / 2


def test_strong_noise_comes_back_less_than_with_the_sharpest_filter(truth):
    small = shrunk(truth, 4)
    noisy = (small + 0.1 * torch.randn(small.shape, generator=torch.Generator().manual_seed(2))).clamp(0, 1)
    assert psnr(low_frequency_fix(truth, noisy), truth) > psnr(low_frequency_fix(truth, noisy, 1.0), truth) + 3


def test_hidden_colours_do_not_count(truth, small):
    opaque = torch.ones(1, 1, *small.shape[-2:])
    opaque[..., :20] = 0
    hidden = torch.where(opaque > 0, small, torch.rand(small.shape, generator=torch.Generator().manual_seed(3)))
    cast = (0.9 * truth).clamp(0, 1)
    same = low_frequency_fix(cast, hidden, 2.0, weight=opaque, one_sided=False)[..., 80:]
    clean = low_frequency_fix(cast, small, 2.0, weight=opaque, one_sided=False)[..., 80:]
    assert torch.allclose(same, clean, atol=1e-5)
    assert drift(cast, hidden, weight=opaque) == pytest.approx(drift(cast, small, weight=opaque).item(), abs=1e-6)


def test_each_image_of_a_batch_is_its_own(truth, small):
    noisy = (small + 0.08 * torch.randn(small.shape, generator=torch.Generator().manual_seed(4))).clamp(0, 1)
    y, x = torch.cat([truth, 0.9 * truth]), torch.cat([small, noisy])
    both = low_frequency_fix(y, x)
    assert torch.allclose(both[:1], low_frequency_fix(y[:1], x[:1]), atol=1e-6)
    assert torch.allclose(both[1:], low_frequency_fix(y[1:], x[1:]), atol=1e-6)


def test_the_correction_alone_needs_only_the_small_image(truth, small):
    y = 0.9 * truth
    up = F.interpolate(correction(shrunk(y, 4), small), scale_factor=4, mode='bicubic', align_corners=False)
    assert torch.allclose(y + up, low_frequency_fix(y, small), atol=1e-6)


def test_the_wavelet_fix_keeps_what_its_blurs_remove(truth, small):
    """y - blurred(y) + blurred(up(x)), with the blurs as dense kernels."""
    up = F.interpolate(small, scale_factor=4, mode='bicubic', align_corners=False)

    def coarse(image: Tensor) -> Tensor:
        for level in range(2):
            hole = 1 << level
            kernel = torch.zeros(2 * hole + 1, 2 * hole + 1)
            kernel[::hole, ::hole] = torch.outer(*2 * [torch.tensor([1.0, 2.0, 1.0])]) / 16
            padded = F.pad(image, 4 * [hole], mode='replicate')
            image = F.conv2d(padded, kernel.expand(3, 1, -1, -1), groups=3)
        return image

    y = 0.9 * truth
    assert torch.allclose(wavelet_fix(y, small, levels=2), y - coarse(y) + coarse(up), atol=1e-5)


@pytest.mark.parametrize('fix', [low_frequency_fix, wavelet_fix, drift])
def test_sizes_that_do_not_fit_are_refused(fix):
    with pytest.raises(ValueError, match='whole multiple'):
        fix(torch.rand(1, 3, 33, 32), torch.rand(1, 3, 8, 8))
