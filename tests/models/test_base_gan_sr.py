"""One iteration of what our models share: who steps when, what the average takes over, how often u and v move."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from basicsr.models import build_model
from small_model import options
from torch import Tensor, nn

from metaf2n_arch.models.outer_loss import OuterLoss
from metaf2n_arch.utils.checks import OptionError


def training(folder: Path, **train: Any) -> Any:
    torch.manual_seed(0)
    opt = options(folder)
    opt['train'].update(train)
    return build_model(opt)


def state(net: nn.Module) -> dict[str, Tensor]:
    return deepcopy(net.state_dict())


def unchanged(net: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_the_generator_waits_for_the_discriminator_and_then_steps_every_other_iteration(tmp_path, batch):
    model = training(tmp_path, net_d_init_iters=2, net_d_iters=2)
    stepped = []
    for iteration in range(1, 7):
        generator, discriminator = state(model.net_g), state(model.net_d)
        model.feed_data(batch)
        model.optimize_parameters(iteration)
        stepped.append(not unchanged(model.net_g, generator))
        assert not unchanged(model.net_d, discriminator)
    assert stepped == [False, False, False, True, False, True]


def test_an_iteration_without_a_step_leaves_the_average_where_it_was(tmp_path, batch):
    model = training(tmp_path, ema_decay=0.5, net_d_iters=2)
    model.feed_data(batch)
    model.optimize_parameters(2)
    average = state(model.net_g_ema)
    assert not unchanged(model.net_g, average)
    model.feed_data(batch)
    model.optimize_parameters(3)  # the discriminator's
    assert unchanged(model.net_g_ema, average)
    model.losses.terms[0].loss.loss_weight = float('nan')
    model.feed_data(batch)
    model.optimize_parameters(4)
    assert model.get_current_log()['skipped_steps'] == 1
    assert unchanged(model.net_g_ema, average)


def test_the_average_takes_buffers_over_as_they_are(tmp_path):
    model = training(tmp_path, ema_decay=0.9)
    for net in (model.net_g, model.net_g_ema):
        net.register_buffer('seen', torch.zeros(2))
    model.net_g.seen += 3
    model.model_ema(0.9)
    assert model.net_g_ema.seen.tolist() == [3, 3]


def test_spectral_norm_takes_one_power_iteration_per_step(tmp_path, batch):
    """u' = W v / |W v|, v = Wᵀ u / |Wᵀ u|, however often the discriminator judges."""
    model = training(tmp_path)
    before = state(model.net_d)
    model.feed_data(batch)
    model.optimize_parameters(1)
    after = model.net_d.state_dict()
    names = [name.removesuffix('_u') for name in before if name.endswith('_u')]
    assert names
    for name in names:
        weight = before[f'{name}_orig'].flatten(1)
        v = F.normalize(weight.T @ before[f'{name}_u'], dim=0)
        torch.testing.assert_close(after[f'{name}_u'], F.normalize(weight @ v, dim=0))


@pytest.mark.parametrize('meta', [{'unadapted_weight': 0.5}, {'annealing_iters': 100}])
def test_only_the_last_outputs_teach_the_discriminator(tmp_path, batch, meta):
    """Whatever else is added to the generator's loss, the discriminator judges what was adapted by all steps, once."""
    taught, values = [], []
    for more in ({}, meta):
        torch.manual_seed(0)
        model = build_model(options(tmp_path, meta={'inner_lr': 0.05, 'inner_steps': 2, **more}))
        model.feed_data(batch)
        values.append(model.compute_gradients(1))
        taught.append(torch.cat([p.grad.flatten() for p in model.net_d.parameters()]))
    torch.testing.assert_close(taught[1], taught[0])
    for name in ('l_d_gan', 'out_d_real_gan', 'l_g_gan'):
        torch.testing.assert_close(values[1][name], values[0][name])


def test_images_stay_together_where_a_network_mixes_them(tmp_path, batch):
    model = training(tmp_path)
    model.feed_data(batch)
    task = next(iter(model.tasks))
    assert len(OuterLoss(model, task, 1).terms) == 2
    model.net_d.add_module('norm', nn.BatchNorm2d(3).train())
    assert len(OuterLoss(model, task, 1).terms) == 1


def test_loss_shares_of_tasks_are_those_of_the_adapted_outputs_gradient(tmp_path, batch):
    """The oracle writes both gradients down for every adapted output; their squares add up over images and tasks."""
    model = training(tmp_path, losses=[{'type': 'L1Loss'}, {'type': 'MSELoss', 'loss_weight': 2.0}])
    model.opt['logger'] = {'print_freq': 1, 'loss_shares': True}
    squares = {'l1': 0.0, 'mse': 0.0}
    generator = model.losses.generator

    def noted(pred, data, critic, iteration, shares, influence=None):
        if influence is not None:
            difference = (pred - data['gt']).detach()
            squares['l1'] += (shares['l1'] * difference.sign() / difference.numel()).square().sum().item()
            squares['mse'] += (shares['mse'] * 4 * difference / difference.numel()).square().sum().item()
        return generator(pred, data, critic, iteration, shares, influence)

    model.losses.generator = noted
    model.feed_data(batch)
    model.optimize_parameters(1)
    norms = {name: square**0.5 for name, square in squares.items()}
    log = model.get_current_log()
    for name, norm in norms.items():
        assert log[f'share_{name}'] == pytest.approx(norm / sum(norms.values()), rel=1e-4)
    before = dict(squares)
    model.opt['logger']['loss_shares'] = False
    model.feed_data(batch)
    model.optimize_parameters(2)
    assert squares == before
    assert 'share_l1' not in model.get_current_log()


def test_query_images_of_a_task_are_mixed_with_each_other_and_the_support_stays(tmp_path, batch):
    model = training(tmp_path, augmentations=[{'type': 'CutMix', 'prob': 1.0}])
    model.feed_data(batch)
    for number, task in enumerate(list(model.tasks)):
        mixed = model._augmented_task(task, 3, number)
        assert torch.equal(mixed.support_lq, task.support_lq)
        assert torch.equal(mixed.support_hq, task.support_hq)
        from_own = (mixed.query_gt == task.query_gt).all(1)
        from_other = (mixed.query_gt == task.query_gt.flip(0)).all(1)
        assert (from_own | from_other).all()
        assert not from_own.all()
        again = model._augmented_task(task, 3, number)
        assert torch.equal(again.query_lq, mixed.query_lq)
    model.feed_data(batch)
    model.optimize_parameters(1)
    assert model.get_current_log()['l_g_l1'] > 0


def test_what_changes_a_tasks_degradation_is_refused_where_it_is_adapted_to(tmp_path):
    with pytest.raises(OptionError, match=r'train.augmentations.0: MixUp changes how a task is degraded'):
        training(tmp_path, augmentations=[{'type': 'MixUp', 'prob': 0.5}])
