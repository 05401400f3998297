"""Noise against its own laws: variance, distribution, sharing between channels, independence of keys."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metaf2n_arch.degradation.noise import _poisson_table, add_noise, poisson_residual
from metaf2n_arch.degradation.params import NoiseParams
from metaf2n_arch.utils.rng import torch_generator

GRAY = torch.full((1, 3, 256, 256), 128 / 255)


def residual(images: torch.Tensor, kind: str, strength: float, gray: bool = False, key: int = 0) -> torch.Tensor:
    return add_noise(images, NoiseParams(kind, (strength, strength), gray), (key,)) - images


@pytest.mark.parametrize('sigma', [1.0, 10.0, 30.0])
def test_gaussian_noise_has_its_sigma(sigma):
    noise = residual(GRAY.repeat(1, 1, 4, 4), 'gaussian', sigma) * 255
    assert float(noise.std()) == pytest.approx(sigma, rel=0.002)
    assert float(noise.mean()) == pytest.approx(0, abs=4 * sigma / noise.numel() ** 0.5)


def test_speckle_grows_with_brightness():
    ramp = torch.linspace(0, 0.8, 256).expand(1, 3, 256, 256).contiguous()
    noise = residual(ramp, 'speckle', 20.0)
    torch.testing.assert_close(noise.std(dim=(0, 1, 2))[32:], ramp[0, 0, 0, 32:] * 20 / 255, rtol=0.1, atol=0)


def photo_with_levels(levels: int) -> torch.Tensor:
    """An image with that many grey levels, each equally often, far from black and white."""
    values = (torch.arange(256 * 256) % levels + 20) / 255
    return values.view(1, 1, 256, 256).expand(1, 3, -1, -1).contiguous()


@pytest.mark.parametrize(('levels', 'peak'), [(200, 256), (100, 128), (64, 64), (2, 2), (1, 1)])
def test_poisson_variance_is_the_image_over_the_number_of_levels(levels, peak):
    images = photo_with_levels(levels)
    noise = poisson_residual(images, False, torch_generator(5))
    assert float(noise.var()) == pytest.approx(float(images.mean()) / peak, rel=0.02)
    assert float(noise.mean()) == pytest.approx(0, abs=5 * (float(images.mean()) / peak / noise.numel()) ** 0.5)


@pytest.mark.parametrize(('row_exponent', 'level'), [(8, 0), (8, 1), (8, 60), (8, 255), (3, 17), (0, 255)])
def test_poisson_table_is_the_distribution_of_scipy(row_exponent, level):
    from scipy.stats import poisson

    uniform = torch.arange(0, 2**23, 997, dtype=torch.int32)
    counts = _poisson_table(torch.device('cpu')).quantile(torch.full_like(uniform, row_exponent * 256 + level), uniform)
    wanted = poisson.ppf((uniform.numpy() + 0.5) / 2**23, 2.0**row_exponent * level / 255)
    assert np.mean(counts.numpy() != wanted) < 1e-3


def test_a_guided_search_ends_where_a_search_of_all_ends():
    table = _poisson_table(torch.device('cpu'))
    rows = torch.arange(9 * 256, dtype=torch.int32)
    drawn = torch.randint(2**23, (100,), generator=torch_generator(0), dtype=torch.int32)
    ends = torch.tensor([0, 1, 2**15 - 1, 2**15, 2**23 - 2**15, 2**23 - 2, 2**23 - 1], dtype=torch.int32)
    row, uniform = torch.meshgrid(rows, torch.cat([drawn, ends]), indexing='ij')
    wanted = torch.searchsorted(table.entries, (row.long() << 23) + uniform, right=True) - table.starts[row]
    torch.testing.assert_close(table.quantile(row, uniform), wanted.int(), rtol=0, atol=0)


def test_poisson_mean_and_variance_match_torch_poisson(astronaut_tensor):
    ours = poisson_residual(astronaut_tensor, False, torch_generator(1))
    theirs = torch.poisson(astronaut_tensor * 256, generator=torch_generator(2)) / 256 - astronaut_tensor
    assert float(ours.var()) == pytest.approx(float(theirs.var()), rel=0.01)


def test_basicsr_draws_the_same_poisson_strength(astronaut_tensor):
    from basicsr.data.degradations import generate_poisson_noise_pt

    torch.manual_seed(0)
    theirs = generate_poisson_noise_pt(astronaut_tensor, 1.0, 0)
    ours = poisson_residual(astronaut_tensor, False, torch_generator(1))
    assert float(ours.var()) == pytest.approx(float(theirs.var()), rel=0.01)


@pytest.mark.parametrize('kind', ['gaussian', 'poisson'])
def test_gray_noise_is_one_for_all_channels_and_colour_noise_is_not(kind):
    strength = {'gaussian': 10.0, 'poisson': 1.0}[kind]
    shared = residual(GRAY, kind, strength, gray=True)
    torch.testing.assert_close(shared[:, 0], shared[:, 2])
    own = residual(GRAY, kind, strength, gray=False)
    correlation = torch.corrcoef(own[0, :2].flatten(1))[0, 1]
    assert abs(float(correlation)) < 0.02


def test_each_image_has_its_own_strength_uniform_in_the_range():
    images = torch.full((300, 3, 24, 24), 0.5)
    noise = (add_noise(images, NoiseParams('gaussian', (2.0, 22.0), False), (9,)) - images) * 255
    sigmas = noise.flatten(1).std(1)
    assert float(sigmas.mean()) == pytest.approx(12, abs=1)
    assert float(sigmas.std()) == pytest.approx(20 / 12**0.5, rel=0.1)


def test_one_key_gives_one_noise_and_another_key_another():
    first, again, other = (residual(GRAY, 'gaussian', 10.0, key=key) for key in (1, 1, 2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert abs(float(torch.corrcoef(torch.stack([first.flatten(), other.flatten()]))[0, 1])) < 0.02


def test_noise_stays_within_the_range(astronaut_tensor):
    noisy = add_noise(astronaut_tensor, NoiseParams('gaussian', (200.0, 200.0), False), (0,))
    assert float(noisy.min()) == 0
    assert float(noisy.max()) == 1


def test_no_noise_changes_nothing(astronaut_tensor):
    assert add_noise(astronaut_tensor, NoiseParams('none', (0.0, 0.0), False), (0,)) is astronaut_tensor
