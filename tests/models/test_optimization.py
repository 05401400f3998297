"""Guarded steps: clipping against torch's own, bad gradients against an untouched copy."""

import multiprocessing

import pytest
import torch
import torch.distributed as dist
from torch import nn

from metaf2n_arch.models.model_options import SafetyOptions
from metaf2n_arch.models.optimization import GuardedStep, average_gradients
from metaf2n_arch.models.optimizers import build_optimizer
from metaf2n_arch.utils.checks import OptionError, TrainingDiverged


def linear_with_gradient(value: float) -> nn.Linear:
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    for p in net.parameters():
        p.grad = torch.full_like(p, value)
    return net


def test_a_good_step_is_the_optimizers_own():
    net, reference = linear_with_gradient(0.5), linear_with_gradient(0.5)
    optimizer = build_optimizer({'type': 'SGD', 'lr': 0.1}, net.parameters(), 'train.optim_g')
    assert GuardedStep(SafetyOptions())(optimizer, 1)
    torch.optim.SGD(reference.parameters(), lr=0.1).step()
    torch.testing.assert_close(net.state_dict(), reference.state_dict(), rtol=0, atol=0)


def test_clipping_limits_the_norm_of_all_gradients_together():
    net = linear_with_gradient(2.0)
    before = torch.cat([p.detach().flatten() for p in net.parameters()])
    optimizer = build_optimizer({'type': 'SGD', 'lr': 1.0}, net.parameters(), 'train.optim_g')
    GuardedStep(SafetyOptions(clip_grad_norm=0.1))(optimizer, 1)
    moved = torch.cat([p.detach().flatten() for p in net.parameters()]) - before
    assert moved.norm().item() == pytest.approx(0.1, rel=1e-4)


@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
def test_a_bad_gradient_changes_no_weight_and_is_counted(bad):
    net, untouched = linear_with_gradient(bad), linear_with_gradient(0)
    step = GuardedStep(SafetyOptions(max_bad_steps=3, clip_grad_norm=1.0))
    optimizer = build_optimizer({'type': 'Adam', 'lr': 0.1}, net.parameters(), 'train.optim_g')
    assert not step(optimizer, 1)
    assert (step.skipped, step.in_a_row) == (1, 1)
    torch.testing.assert_close(net.state_dict(), untouched.state_dict(), rtol=0, atol=0)
    assert not optimizer.state


def test_many_bad_steps_in_a_row_end_the_training():
    net = linear_with_gradient(float('nan'))
    optimizer = build_optimizer({'type': 'Adam', 'lr': 0.1}, net.parameters(), 'train.optim_g')
    step = GuardedStep(SafetyOptions(max_bad_steps=2))
    step(optimizer, 7)
    for p in net.parameters():
        p.grad = torch.full_like(p, float('nan'))
    with pytest.raises(TrainingDiverged, match=r'iteration 8: .* 2 steps in a row'):
        step(optimizer, 8)


def _average(rank: int, meeting: str, answers: multiprocessing.Queue) -> None:
    dist.init_process_group('gloo', init_method=f'file://{meeting}', rank=rank, world_size=2)
    weights = [nn.Parameter(torch.zeros(2, 3)) for _ in range(3)]
    weights[0].grad = torch.full((2, 3), 2.0 + rank)
    weights[1].grad = torch.ones(2, 3) if rank else None
    average_gradients(weights)
    answers.put([None if w.grad is None else w.grad.tolist() for w in weights])
    dist.destroy_process_group()


def test_a_gradient_that_no_process_has_stays_none(tmp_path):
    """A discriminator whose loss starts later takes no step on zeros, which would count in Adam's moments."""
    context = multiprocessing.get_context('forkserver')
    answers = context.Queue()
    both = [context.Process(target=_average, args=(rank, str(tmp_path / 'meeting'), answers)) for rank in range(2)]
    for process in both:
        process.start()
    expected = [[[2.5] * 3] * 2, [[0.5] * 3] * 2, None]
    assert [answers.get(timeout=60) for _ in both] == [expected] * 2
    for process in both:
        process.join(60)


def test_a_good_step_in_between_begins_the_count_anew():
    net = linear_with_gradient(0)
    optimizer = build_optimizer({'type': 'SGD', 'lr': 0.1}, net.parameters(), 'train.optim_g')
    step = GuardedStep(SafetyOptions(max_bad_steps=2))
    for iteration, value in enumerate([float('nan'), 0.5] * 3, start=1):
        for p in net.parameters():
            p.grad = torch.full_like(p, value)
        assert step(optimizer, iteration) == (value == 0.5)
    assert (step.skipped, step.in_a_row) == (3, 0)


def test_an_unknown_optimizer_names_the_nearest():
    with pytest.raises(OptionError, match=r"train\.optim_g\.type is 'AdamX'.*Did you mean 'Adam"):
        build_optimizer({'type': 'AdamX', 'lr': 1e-4}, linear_with_gradient(0).parameters(), 'train.optim_g')


@pytest.mark.parametrize('name', ['LBFGS', 'SparseAdam'])
def test_an_optimizer_that_cannot_step_on_these_gradients_is_refused_at_once(name):
    with pytest.raises(
        OptionError, match=rf"train\.optim_g\.type is '{name}', which .*; use another one of torch\.optim"
    ):
        build_optimizer({'type': name, 'lr': 1e-4}, linear_with_gradient(0).parameters(), 'train.optim_g')


def test_an_option_the_optimizer_does_not_have_is_named():
    with pytest.raises(OptionError, match='momentun'):
        build_optimizer(
            {'type': 'SGD', 'lr': 1e-4, 'momentun': 0.9}, linear_with_gradient(0).parameters(), 'train.optim_g'
        )


def test_the_counters_of_a_guard_survive_a_resume():
    guard, again = GuardedStep(SafetyOptions()), GuardedStep(SafetyOptions(max_bad_steps=3))
    guard.skipped, guard.in_a_row = 5, 2
    again.load_state_dict(guard.state_dict())
    weight = torch.nn.Parameter(torch.ones(1))
    weight.grad = torch.full((1,), float('nan'))
    with pytest.raises(TrainingDiverged, match='3 steps in a row'):
        again(torch.optim.SGD([weight], lr=1.0), 9)
    assert again.skipped == 6
