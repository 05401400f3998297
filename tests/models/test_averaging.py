"""Averages of weights against torch's `swa_utils`, and steps over several batches against one large batch."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from basicsr.models import build_model
from small_model import options
from torch import Tensor, nn
from torch.optim import swa_utils

from metaf2n_arch.utils.checks import OptionError

LOSSES = [{'type': 'L1Loss'}, {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1}, {'type': 'FFTLoss'}]


def plain(folder: Path, seed: int = 0, performance: dict[str, Any] | None = None, **train: Any) -> Any:
    """A small `GANSRModel`."""
    torch.manual_seed(seed)
    opt = options(folder, model_type='GANSRModel', performance=performance or {})
    opt['train'].update({'losses': LOSSES, **train})
    return build_model({k: v for k, v in opt.items() if k not in ('meta', 'network_m')})


def meta(folder: Path, seed: int = 0, performance: dict[str, Any] | None = None, **train: Any) -> Any:
    """A small `MetaF2NModel`."""
    torch.manual_seed(seed)
    opt = options(folder, performance=performance or {})
    opt['train'].update(train)
    return build_model(opt)


def pairs(photo: Tensor, number: int = 8) -> Tensor:
    return torch.stack([photo[0, :, 40 * i : 40 * i + 32, 30 * i + 60 : 30 * i + 92] for i in range(number)])


def feed(model: Any, data: Any, iteration: int) -> None:
    """An iteration on clean images, or on a batch of tasks."""
    model.feed_data(data if isinstance(data, dict) else {'gt': data, 'lq': data[:, :, ::4, ::4]})
    model.optimize_parameters(iteration)


def task_of(batch: dict[str, Any], number: int) -> dict[str, Any]:
    """One task of a batch, as a batch."""
    one = slice(number, number + 1)
    return {k: {n: x[one] for n, x in v.items()} if isinstance(v, dict) else v[one] for k, v in batch.items()}


def trained(model: Any) -> Tensor:
    nets = [net for net in (model.net_g, model.net_d, getattr(model, 'net_m', None)) if net is not None]
    return torch.cat([p.detach().flatten() for net in nets for p in net.parameters()])


def assert_close(found: nn.Module, expected: nn.Module) -> None:
    for p, q in zip(found.parameters(), expected.parameters()):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ('ema', 'oracle'),
    [
        ({'decay': 0.8}, lambda net: swa_utils.AveragedModel(net, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.8))),
        ({'decay': 1, 'power': 1}, lambda net: swa_utils.AveragedModel(net)),
    ],
    ids=['exponential', 'plain mean'],
)
def test_the_average_is_that_of_torch(tmp_path, astronaut_tensor, ema, oracle):
    """Torch's takes the first weights as they are; ours begins with those of the first step where it is told to."""
    warmup = 0 if 'power' in ema else 1
    model = plain(tmp_path, ema={**ema, 'warmup_steps': warmup})
    expected = oracle(model.net_g)
    for iteration in range(1, 6):
        feed(model, pairs(astronaut_tensor, 2), iteration)
        expected.update_parameters(model.net_g)
    assert_close(model.net_g_ema, expected.module)


def test_a_growing_average_follows_its_equation_and_switches(tmp_path, astronaut_tensor):
    """d_n = min(decay, 1 - n^-power), every other step from the second on; the fourth step goes on from it."""
    model = plain(tmp_path, ema={'decay': 0.6, 'power': 0.75, 'warmup_steps': 2, 'every': 2, 'switch_every': 6})
    average: Tensor | None = None
    for step in range(1, 9):
        feed(model, pairs(astronaut_tensor, 2), step)
        now = torch.cat([p.detach().flatten() for p in model.net_g.parameters()])
        if step <= 2:
            average = now
        elif step % 2 == 0 and step != 6:  # at the sixth the weights are the average already
            decay = min(0.6, 1 - (step / 2 - 1) ** -0.75)
            average = decay * average + (1 - decay) * now
        found = torch.cat([p.flatten() for p in model.net_g_ema.parameters()])
        if step == 6:
            assert torch.equal(found, now)
            average = found
        torch.testing.assert_close(found, average, rtol=1e-5, atol=1e-7)


def test_ema_decay_is_short_for_a_block_and_not_beside_it(tmp_path, astronaut_tensor):
    models = [plain(tmp_path, ema_decay=0.7), plain(tmp_path, ema={'decay': 0.7})]
    for model in models:
        for iteration in (1, 2):
            feed(model, pairs(astronaut_tensor, 2), iteration)
    assert all(torch.equal(p, q) for p, q in zip(models[0].net_g_ema.parameters(), models[1].net_g_ema.parameters()))
    with pytest.raises(OptionError, match='ema and ema_decay are two averages'):
        plain(tmp_path, ema_decay=0.7, ema={'decay': 0.7})
    with pytest.raises(OptionError, match='AdamWScheduleFree averages the weights by itself; remove ema'):
        plain(tmp_path, ema_decay=0.7, optim_g={'type': 'AdamWScheduleFree', 'lr': 1e-3})


def test_several_batches_teach_what_one_large_batch_does(tmp_path, astronaut_tensor):
    """Of generator and discriminator, spectral norms included; the losses are means over images."""
    gt = pairs(astronaut_tensor)
    one, four = plain(tmp_path), plain(tmp_path, accumulate=4, total_iter=8)
    before = trained(four)
    feed(one, gt, 1)
    for iteration, part in enumerate(gt.split(2), start=1):
        assert torch.equal(trained(four), before)
        feed(four, part, iteration)
    moved = trained(one) - before
    assert (trained(four) - trained(one)).norm() < 1e-5 * moved.norm()


def test_several_batches_of_tasks_teach_what_one_large_batch_does(tmp_path, batch):
    one, two = meta(tmp_path), meta(tmp_path, accumulate=2)
    before = trained(two)
    feed(one, batch, 1)
    for number in range(2):
        feed(two, task_of(batch, number), number + 1)
    moved = trained(one) - before
    assert (trained(two) - trained(one)).norm() < 1e-4 * moved.norm()


def test_turns_of_the_players_count_steps(tmp_path, astronaut_tensor):
    model = plain(tmp_path, accumulate=2, net_d_iters=2, total_iter=8)
    moved = []
    for iteration in range(1, 9):
        before = deepcopy(model.net_g.state_dict())
        feed(model, pairs(astronaut_tensor, 2), iteration)
        if any(not torch.equal(value, before[name]) for name, value in model.net_g.state_dict().items()):
            moved.append(iteration)
    assert moved == [4, 8]
    with pytest.raises(OptionError, match=r'total_iter \(10\) must be a multiple of accumulate \(4\)'):
        plain(tmp_path, accumulate=4)


# fp16 -----------------------------------------------------------------------------------------------------------------


def test_float16_takes_nearly_the_step_of_float32_and_scales_its_losses(tmp_path, astronaut_tensor):
    gt = pairs(astronaut_tensor, 4)
    exact, half = plain(tmp_path), plain(tmp_path, performance={'autocast': 'fp16'})
    before = trained(exact)
    inside = []
    half.net_g.register_forward_hook(lambda net, inputs, output: inside.append(output.dtype))
    for model in (exact, half):
        feed(model, gt, 1)
    assert inside == [torch.float16]
    assert half.get_current_log()['loss_scale'] == 65536
    moved = trained(exact) - before
    assert 0 < (trained(half) - trained(exact)).norm() < 0.02 * moved.norm()


@pytest.mark.parametrize('kind', [plain, meta])
def test_an_overflow_lowers_the_scale_and_changes_no_weight(tmp_path, astronaut_tensor, batch, kind):
    model = kind(tmp_path, performance={'autocast': 'fp16'}, safety={'max_bad_steps': 1})
    before = trained(model)
    for step in (model.step_g, model.step_d):
        step.scaler = torch.amp.GradScaler('cpu', init_scale=2.0**40)
    feed(model, batch if kind is meta else pairs(astronaut_tensor, 2), 1)
    assert torch.equal(trained(model), before)
    assert model.step_g.scaler.get_scale() == 2.0**39
    assert model.step_g.skipped == 0, 'it is no bad step'


def test_scaled_losses_keep_what_float16_loses_through_both_loops(tmp_path, batch):
    """With the weight of a loss so low that its gradients are below float16's least number, 6e-8."""
    found = {}
    for name, performance in (('float32', {}), ('scaled', {'autocast': 'fp16'}), ('bare', {'autocast': 'fp16'})):
        model = meta(tmp_path, performance=performance, losses=[{'type': 'L1Loss', 'loss_weight': 1e-3}])
        if name == 'bare':
            model.step_g.scaler = torch.amp.GradScaler('cpu', init_scale=1.0)
        model.feed_data(batch)
        model.compute_gradients(1)
        nets = (model.net_g, model.net_m)
        found[name] = [torch.cat([p.grad.flatten() for p in net.parameters()]) / model.step_g.scale for net in nets]
    for wanted, scaled, bare in zip(*found.values()):
        assert (scaled - wanted).norm() < 0.01 * wanted.norm()
        assert (bare - wanted).norm() > 0.1 * wanted.norm()


# resuming -------------------------------------------------------------------------------------------------------------

RESUMED: list[dict[str, Any]] = [
    {'kind': 'meta', 'performance': {'autocast': 'fp16'}, 'losses': [{'type': 'L1Loss'}]},
    {'accumulate': 4, 'total_iter': 8},
    {'performance': {'autocast': 'fp16'}, 'losses': LOSSES[:1]},  # its convolutions take long on a CPU
    {'ema': {'decay': 0.9, 'power': 0.75, 'switch_every': 4}},
    {'optim_g': {'type': 'AdamWScheduleFree', 'lr': 1e-2}, 'optim_d': {'type': 'ScheduleFreeSGD', 'lr': 1e-2}},
    {'optim_g': {'type': 'Prodigy', 'lr': 1.0}, 'scheduler': {'type': 'OneCycleLR', 'max_lr': 0.1, 'total_steps': 10}},
    {
        'optim_g': {'type': 'Adan', 'lr': 1e-2},
        'scheduler': {'type': 'CyclicLR', 'base_lr': 1e-3, 'max_lr': 1e-2, 'cycle_momentum': False},
    },
    {'scheduler': None, 'optim_g': {'type': 'RMSprop', 'lr': 1e-3}},
]


@pytest.mark.parametrize('train', RESUMED, ids=str)
def test_a_resumed_training_ends_with_the_same_bits(tmp_path, astronaut_tensor, batch, train, caplog):
    """Through the file that the runner writes; nothing is taken for a changed option."""
    from metaf2n_arch.run.resume import further_state, resume_training
    from metaf2n_arch.weights.files import read_checkpoint

    kind, gt = meta if 'kind' in train else plain, pairs(astronaut_tensor)

    def go_on(model: Any, iterations: range) -> None:
        for iteration in iterations:
            model.update_learning_rate(iteration, warmup_iter=3)
            images = gt[iteration % 4 : iteration % 4 + 2]
            feed(model, task_of(batch, iteration % 2) if kind is meta else images, iteration)

    given = {name: value for name, value in train.items() if name != 'kind'}
    whole, begun, resumed = (kind(tmp_path, seed, **deepcopy(given)) for seed in (0, 0, 1))
    for model in (whole, begun):
        if model.step_g.scaler is not None:  # grows with every other step
            model.step_g.scaler = torch.amp.GradScaler('cpu', growth_interval=2)
    go_on(whole, range(1, 9))
    go_on(begun, range(1, 7))
    state = {
        'epoch': 0,
        'iter': 6,
        'optimizers': [optimizer.state_dict() for optimizer in begun.optimizers],
        'schedulers': [schedule.state_dict() for schedule in begun.schedulers],
        **further_state(begun),
    }
    torch.save(state, tmp_path / '6.state')
    for label in ('g', 'd', 'm', 'g_ema'):
        if getattr(begun, f'net_{label}', None) is not None:
            getattr(resumed, f'net_{label}').load_state_dict(getattr(begun, f'net_{label}').state_dict())
    resume_training(resumed, read_checkpoint(tmp_path / '6.state'), type(resumed).update_learning_rate)
    go_on(resumed, range(7, 9))
    assert torch.equal(trained(resumed), trained(whole))
    assert resumed.step_g.state_dict() == whole.step_g.state_dict()
    if hasattr(whole, 'net_g_ema'):
        assert all(torch.equal(p, q) for p, q in zip(resumed.net_g_ema.parameters(), whole.net_g_ema.parameters()))
    assert 'changed options' not in caplog.text
