"""Cosine annealing with restarts past its periods, with and without the repair."""

from __future__ import annotations

import math

import pytest
import torch

PERIODS, WEIGHTS, END, RATE = [4, 6], [1, 0.5], 1e-3, 0.1


@pytest.fixture
def scheduler():
    from basicsr.models.lr_scheduler import CosineAnnealingRestartLR

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=RATE)
    scheduler = CosineAnnealingRestartLR(optimizer, PERIODS, WEIGHTS, END)
    optimizer.step()  # torch wants one before the first step of a scheduler
    return scheduler


def equation(iteration: int) -> float:
    start, period, weight = (0, 4, 1) if iteration <= 4 else (4, 6, 0.5)
    return END + weight * (RATE - END) * (1 + math.cos(math.pi * (iteration - start) / period)) / 2


def test_rates_follow_the_cosines_and_stay_at_their_end(scheduler):
    for iteration in range(1, 15):
        scheduler.step()
        assert scheduler.last_epoch == iteration
        [rate] = scheduler.get_last_lr()
        assert rate == pytest.approx(equation(iteration) if iteration <= 10 else END)


def test_the_host_alone_dies_past_the_last_period(scheduler):
    from metaf2n_arch.bridge.patching import ORIGINALS

    original = ORIGINALS['basicsr.models.lr_scheduler.CosineAnnealingRestartLR.get_lr']
    scheduler.last_epoch = 10
    assert original(scheduler) == [pytest.approx(END)]
    scheduler.last_epoch = 11
    with pytest.raises(TypeError):
        original(scheduler)
