"""The meta-batch: the mean over tasks, one task at a time."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from metaf2n_arch.meta import MetaGradient, Params, accumulate, assign_gradients, meta_gradient


def task(shift: float) -> MetaGradient:
    theta = {'w': torch.arange(4, dtype=torch.float64)}
    phi = {'p': torch.ones(4, dtype=torch.float64)}
    rates = {'w': torch.tensor(0.1, dtype=torch.float64, requires_grad=True)}

    def inner(t: Params, p: Params) -> Tensor:
        return (p['p'] * (t['w'] - shift) ** 2).sum()

    def outer(t: Params, p: Params, step: int) -> Tensor:
        return (t['w'] ** 2).sum() + shift

    return meta_gradient(theta, phi, inner, outer, inner_lr=rates)


def test_accumulate_is_the_mean_of_the_tasks() -> None:
    shifts = [0.5, -1.0, 2.0]
    tasks, found = [task(s) for s in shifts], accumulate(task(s) for s in shifts)
    mean = {name: torch.stack([getattr(t, name)[key] for t in tasks]).mean(0)
            for name, key in (('theta', 'w'), ('phi', 'p'), ('inner_lr', 'w'))}  # fmt: skip
    torch.testing.assert_close(found.theta['w'], mean['theta'])
    torch.testing.assert_close(found.phi['p'], mean['phi'])
    torch.testing.assert_close(found.inner_lr['w'], mean['inner_lr'])
    torch.testing.assert_close(found.outer_losses[0], torch.stack([t.outer_losses[0] for t in tasks]).mean())
    torch.testing.assert_close(found.inner_losses[0], torch.stack([t.inner_losses[0] for t in tasks]).mean())
    assert found.fast_params == {}


def test_the_tasks_that_were_given_are_not_changed() -> None:
    first, second = task(0.5), task(1.5)
    before = first.theta['w'].clone()
    accumulate([first, second])
    assert torch.equal(first.theta['w'], before)


def test_one_task_is_alive_at_a_time() -> None:
    alive: list[weakref.ref] = []

    def tasks() -> Iterator[MetaGradient]:
        for shift in range(5):
            gc.collect()
            assert not any(ref() is not None for ref in alive)
            gradient = task(float(shift))
            alive.append(weakref.ref(gradient))
            yield gradient
            del gradient

    accumulate(tasks())
    assert len(alive) == 5


def test_a_task_that_is_not_finite_is_seen_in_the_sum() -> None:
    assert accumulate([task(0.5), task(1.0)]).finite
    assert not accumulate([task(0.5), task(float('nan'))]).finite


def test_no_task_is_an_error() -> None:
    with pytest.raises(ValueError, match='no task'):
        accumulate([])


def test_gradients_are_put_where_the_optimizer_looks() -> None:
    net = nn.Linear(2, 1)
    net.bias.grad = torch.ones(1)
    assign_gradients(dict(net.named_parameters()), {'weight': torch.full((1, 2), 3.0)})
    assert torch.equal(net.weight.grad, torch.full((1, 2), 3.0))
    assert net.bias.grad is None
