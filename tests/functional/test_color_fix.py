"""The colour fix strip by strip against the whole at once."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metaf2n_arch.functional.color_fix import ColorFix, pooled_noise
from metaf2n_arch.functional.low_frequency import noise_level


@pytest.fixture(scope='module')
def pair(astronaut_tensor: Tensor) -> tuple[Tensor, Tensor]:
    truth = astronaut_tensor[:, :, :320, 150:290]
    return 0.9 * truth + 0.03, F.interpolate(truth, scale_factor=0.25, mode='area')


@pytest.mark.parametrize('kind', ['lowfreq', 'wavelet', 'none'])
@pytest.mark.parametrize('rows', [1, 7, 30, 80])
@pytest.mark.parametrize('weighted', [False, True])
def test_strips_are_the_whole(kind, rows, weighted, pair):
    y, x = pair
    weight = (x[:, :1] > 0.3).float() if weighted else None
    fix = ColorFix(kind, noise=torch.full((1, 1, 1, 1), 0.01))
    strips = list(fix.in_strips(iter(y.split(4 * rows, -2)), x, weight))
    assert torch.allclose(torch.cat(strips, -2), fix(y, x, weight), atol=2e-6)


def test_strips_are_passed_on_before_the_end(pair):
    y, x = pair
    taken = []

    def strips():
        for number, strip in enumerate(y.split(40, -2)):
            taken.append(number)
            yield strip

    next(ColorFix('lowfreq', noise=torch.zeros(1, 1, 1, 1)).in_strips(strips(), x))
    assert len(taken) <= 2


def test_the_noise_of_patches_is_that_of_the_photo(pair):
    _, x = pair
    noisy = x + 0.03 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    parts, clean = ([image[..., i : i + 30, :30] for i in (0, 25, 50)] for image in (noisy, x))
    found = pooled_noise(torch.cat(clean).repeat_interleave(2, 2).repeat_interleave(2, 3), torch.cat(parts))
    assert found.item() == pytest.approx(noise_level(x, noisy).item(), rel=0.25)
