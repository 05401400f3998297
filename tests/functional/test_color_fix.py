"""The colour fix strip by strip against the whole at once."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metaf2n_arch.functional.color_fix import ColorFix
from metaf2n_arch.functional.traits import Traits


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
    fix = ColorFix(kind, traits=Traits(torch.full((1, 1, 1, 1), 0.01), torch.full((1, 2, 1, 1), 0.7)))
    strips = list(fix.in_strips(iter(y.split(4 * rows, -2)), x, weight))
    assert torch.allclose(torch.cat(strips, -2), fix(y, x, weight), atol=2e-6)


def test_strips_are_passed_on_before_the_end(pair):
    y, x = pair
    taken = []

    def strips():
        for number, strip in enumerate(y.split(40, -2)):
            taken.append(number)
            yield strip

    next(ColorFix('lowfreq', traits=Traits(torch.zeros(1, 1, 1, 1), torch.ones(1, 2, 1, 1))).in_strips(strips(), x))
    assert len(taken) <= 2
