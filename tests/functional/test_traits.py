"""Traits of degraded photos against draws whose noise, blur and clipping are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metaf2n_arch.functional.gaussians import low_pass, shrunk
from metaf2n_arch.functional.traits import clipping_shift, noise_level, pooled_traits, sharpness, traits_of


@pytest.fixture(scope='module')
def truth(astronaut_tensor: Tensor) -> Tensor:
    return astronaut_tensor[:, :, 16:176, 160:316]  # 160 x 156: the face


@pytest.mark.parametrize('level', [0.0, 0.02, 0.06])
@pytest.mark.parametrize('grey', [False, True])
def test_noise_is_measured_in_spite_of_detail(level, grey, truth):
    small = shrunk(truth, 4)
    noise = torch.randn(1, 1 if grey else 3, *small.shape[-2:], generator=torch.Generator().manual_seed(1))
    found = noise_level(small, small + level * noise).item()
    assert found == pytest.approx(level, rel=0.25, abs=0.002)


@pytest.mark.parametrize('sigma', [0.4, 0.8])
def test_sharpness_is_what_a_blur_leaves(sigma, truth):
    """A wave keeps the share Σ w_i cos(2 π f i) under taps w; noise on top has no influence in the mean."""
    frequency = 0.25  # per pixel, in both directions: in the finest band
    place = torch.arange(64.0)
    wave = torch.cos(2 * math.pi * frequency * place)
    small = 0.5 + 0.2 * (wave[:, None] * wave).expand(1, 3, 64, 64)
    taps = {i: math.exp(-(i**2) / (2 * sigma**2)) for i in range(-5, 6)}
    left = sum(w * math.cos(2 * math.pi * frequency * i) for i, w in taps.items()) / sum(taps.values())
    assert sharpness(small, low_pass(small, sigma))[0, 0].item() == pytest.approx(
        left**2, abs=0.03
    )  # once for each axis
    noise = 0.05 * torch.randn(small.shape, generator=torch.Generator().manual_seed(0))
    noisy = sharpness(small, low_pass(small, sigma) + noise)[0, 0].item()
    assert noisy == pytest.approx(sharpness(small, low_pass(small, sigma))[0, 0].item(), abs=0.03)
    photo = shrunk(truth, 4)
    found = sharpness(photo, low_pass(photo, sigma)).flatten()
    assert 0.1 < found[0] < found[1] < 1
    assert sharpness(photo, photo).flatten().tolist() == [1, 1]
    assert sharpness(torch.full_like(photo, 0.5), photo).flatten().tolist() == [1, 1]


@pytest.mark.parametrize('sigma', [0.03, 0.12])
def test_the_shift_of_clipped_noise_is_that_of_a_clipped_normal(sigma):
    """The mean of clip(μ + σ z, 0) from many draws, and from an integral; solving for μ gives it back."""
    truth = torch.tensor([0.0, 0.02, 0.05, 0.1, 0.3], dtype=torch.float64)
    z = np.linspace(-9, 9, 200_001)
    weight = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    integral = torch.tensor([float((np.clip(mu + sigma * z, 0, None) * weight).sum()) for mu in truth])
    draws = torch.randn(5, 400_000, generator=torch.Generator().manual_seed(0)).double()
    drawn = (truth[:, None] + sigma * draws).clamp_min(0).mean(1)
    assert torch.allclose(drawn, integral.double(), atol=3e-4)
    found = clipping_shift(integral.double(), torch.tensor(sigma).double())
    assert torch.allclose(integral - found, truth, atol=1e-5)
    assert clipping_shift(torch.tensor([0.0]), torch.tensor(sigma)).item() == 0  # darker than any truth: black
    assert clipping_shift(torch.tensor([0.2]), torch.tensor(0.0)).item() == 0


@pytest.mark.parametrize('end', ['black', 'white'])
def test_low_frequencies_without_the_shift_are_those_of_the_truth(end, truth):
    """Strong noise, cut off, then averaged away by shrinking: what is left of it is the shift."""
    dark = 0.15 * truth if end == 'black' else 1 - 0.15 * (1 - truth)
    noise = 0.1 * torch.randn(dark.shape, generator=torch.Generator().manual_seed(0))
    seen = low_pass(shrunk((dark + noise).clamp(0, 1), 4), 2.0)
    right = low_pass(shrunk(dark, 4), 2.0)
    found = seen - clipping_shift(seen, torch.tensor(0.1)) if end == 'black' else (
        seen + clipping_shift(1 - seen, torch.tensor(0.1))
    )  # fmt: skip
    assert (seen - right).abs().mean() > 0.01
    assert (found - right).abs().mean() < (seen - right).abs().mean() / 2


def test_traits_of_patches_are_those_of_the_photo(astronaut_tensor):
    gt = astronaut_tensor[:, :, :320, 150:290]
    clean = F.interpolate(gt, scale_factor=0.25, mode='area')
    x = low_pass(clean, 0.5) + 0.03 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    patches, restored = ([t[..., i : i + 30, :30] for i in (0, 25, 50)] for t in (x, clean))
    y = torch.cat(restored).repeat_interleave(2, 2).repeat_interleave(2, 3)
    found, whole = pooled_traits(y, torch.cat(patches)), traits_of(clean, x)
    assert found.noise.item() == pytest.approx(whole.noise.item(), rel=0.25)
    assert torch.allclose(found.sharpness, whole.sharpness, atol=0.08)
