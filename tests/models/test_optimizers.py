"""Optimizers by name against the libraries themselves, and schedule-free training with its two points."""

from __future__ import annotations

import importlib

import pytest
import pytorch_optimizer
import schedulefree
import torch
from torch import Tensor, nn

from metaf2n_arch.models.optimizers import at_average, build_optimizer, switches
from metaf2n_arch.utils.checks import OptionError

FREE = {'type': 'AdamWScheduleFree', 'lr': 0.05, 'warmup_steps': 2}


def net_of(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def teach(net: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        x = torch.rand(8, 3, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        (net(x) - x.prod(1, keepdim=True)).pow(2).mean().backward()
        optimizer.step()


def weights(net: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in net.parameters()])


@pytest.mark.parametrize(
    ('options', 'kind'),
    [
        ({'type': 'NAdam', 'lr': 0.01, 'momentum_decay': 1e-3}, torch.optim.NAdam),
        (FREE, schedulefree.AdamWScheduleFree),
        ({'type': 'SGDScheduleFree', 'lr': 0.1}, schedulefree.SGDScheduleFree),
        ({'type': 'Lion', 'lr': 1e-3, 'weight_decay': 0.1}, pytorch_optimizer.Lion),
        ({'type': 'Prodigy', 'lr': 1.0}, pytorch_optimizer.Prodigy),
        ({'type': 'ScheduleFreeAdamW', 'lr': 0.01}, pytorch_optimizer.ScheduleFreeAdamW),
    ],
    ids=lambda value: value['type'] if isinstance(value, dict) else '',
)
def test_an_optimizer_by_name_is_that_of_its_library(options, kind):
    ours, theirs = net_of(), net_of()
    found = build_optimizer(options, ours.parameters(), 'train.optim_g')
    expected = kind(theirs.parameters(), **{k: v for k, v in options.items() if k != 'type'})
    if switches(expected):
        expected.train()
    teach(ours, found, range(4))
    teach(theirs, expected, range(4))
    assert type(found) is kind
    assert torch.equal(weights(ours), weights(theirs))


def test_a_look_at_the_average_changes_nothing_to_the_bit():
    """The average x is what the library's own `eval` gives; its `train` alone would not come back to the same bits."""
    looked, left, library = net_of(), net_of(), net_of()
    optimizers = [build_optimizer(FREE, net.parameters(), 'optim') for net in (looked, left, library)]
    for step in range(6):
        for net, optimizer in zip((looked, left), optimizers):
            teach(net, optimizer, range(step, step + 1))
        with at_average(optimizers[:1]):
            average = weights(looked)
            assert not torch.equal(average, weights(left)) or step == 0
        assert torch.equal(weights(looked), weights(left))
    teach(library, optimizers[2], range(6))
    optimizers[2].eval()
    assert torch.equal(average, weights(library))


def test_an_error_at_the_average_comes_back_too():
    net = net_of()
    optimizer = build_optimizer(FREE, net.parameters(), 'optim')
    teach(net, optimizer, range(3))
    before = weights(net)
    with pytest.raises(RuntimeError), at_average([optimizer]):
        raise RuntimeError
    assert torch.equal(weights(net), before)
    teach(net, optimizer, range(3, 4))  # it refuses to step outside training


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'type': 'AdamWScheduleFre', 'lr': 1}, r"optim\.type is 'AdamWScheduleFre', .*'AdamWScheduleFree'"),
        (
            {'type': 'SAM', 'lr': 1},
            "'SAM', which wraps another optimizer or a model; use another one of pytorch_opt",
        ),
        ({'type': 'SGDScheduleFreeClosure', 'lr': 1}, 'evaluates the loss several times in a step'),
        ({'type': 'SophiaH', 'lr': 1}, 'differentiates the loss a second time'),
        ({'type': 'Muon', 'lr': 1e-3}, 'Muon rejects these options'),
        ({'type': 'Lion', 'lr': 1e-3, 'beta': 1}, r"optim\.beta: unknown key of Lion.*'betas'"),
    ],
)
def test_what_cannot_be_used_is_one_line(options, message):
    with pytest.raises(OptionError, match=message) as error:
        build_optimizer(options, net_of().parameters(), 'optim')
    assert len(str(error.value).splitlines()) == 1


def test_a_library_that_is_not_installed_is_named_with_its_remedy(monkeypatch):
    real = importlib.import_module

    def missing(name: str, *more: object) -> object:
        if name in ('schedulefree', 'pytorch_optimizer'):
            raise ImportError(name)
        return real(name)

    monkeypatch.setattr('metaf2n_arch.models.optimizers.importlib.import_module', missing)
    with pytest.raises(OptionError, match=r'schedulefree and pytorch_optimizer \(not installed\).*pip install "\w'):
        build_optimizer(FREE, net_of().parameters(), 'optim')
