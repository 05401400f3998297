"""Trainings that cannot learn say so, once and in one line; those that can say nothing."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from basicsr.models import build_model
from small_model import options


@pytest.fixture
def told(caplog):
    """The warnings of the log so far."""
    logging.getLogger('basicsr').propagate = True
    with caplog.at_level(logging.WARNING, logger='basicsr'):
        yield lambda: [record.getMessage() for record in caplog.records if record.name == 'basicsr']


def training(folder: Path, **train: Any) -> Any:
    torch.manual_seed(0)
    opt = options(folder)
    opt['train'].update(train)
    return build_model(opt)


def go(model: Any, batch: dict[str, Any], iterations: int = 3) -> None:
    for iteration in range(1, iterations + 1):
        model.feed_data(batch)
        model.optimize_parameters(iteration)


def test_a_training_that_learns_says_nothing(tmp_path, batch, told):
    go(training(tmp_path, ema_decay=0.5), batch)
    assert told() == []


def test_a_mask_net_at_zero_is_told(tmp_path, batch, told):
    model = training(tmp_path, losses=[{'type': 'L1Loss'}])
    with torch.no_grad():
        for p in model.net_m.parameters():
            p.zero_()
    go(model, batch)
    [line] = [line for line in told() if 'MaskNet' in line]
    assert line.startswith('iteration 2: the confidence of MaskNet is 0')
    assert 'MaskRegularizerLoss' in line


@pytest.mark.parametrize('kind', ['MetaF2NModel', 'GANSRModel'])
def test_an_output_of_one_colour_is_told(tmp_path, batch, astronaut_tensor, told, kind):
    torch.manual_seed(0)
    opt = options(tmp_path, model_type=kind, meta={'inner_lr': 0.0})
    opt['network_g'] = {'type': 'MSRResNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1}
    opt['train']['losses'] = [{'type': 'L1Loss'}]
    opt['train']['optim_g']['lr'] = 1e-12
    if kind == 'GANSRModel':
        del opt['meta'], opt['network_m']
        gt = astronaut_tensor[:, :, 60:124, 170:234]
        batch = {'gt': gt, 'lq': torch.full_like(gt[:, :, ::4, ::4], 0.5)}
    model = build_model(opt)
    with torch.no_grad():
        for p in model.net_g.parameters():
            p.zero_()
    if kind == 'MetaF2NModel':  # MSRResNet adds the enlarged input
        forward = model.net_g.forward
        model.net_g.forward = lambda x: forward(torch.full_like(x, 0.5))
    go(model, batch)
    [line] = [line for line in told() if 'of one colour' in line]
    assert line.startswith('iteration 2: ')


@pytest.mark.parametrize(
    ('train', 'val_freq', 'part'),
    [
        ({'ema_decay': 0.999}, 8, 100 * 0.999**8),
        ({'ema_decay': 0.9, 'accumulate': 5}, None, 100 * 0.9**2),
        ({'ema_decay': 0.5}, 8, None),
        ({'ema': {'decay': 0.9999, 'power': 0.75}}, 8, None),
        ({'ema': {'decay': 0.9999, 'warmup_steps': 2}}, 8, None),
    ],
    ids=str,
)
def test_an_average_that_hides_what_is_learned_is_told_at_the_start(tmp_path, told, train, val_freq, part):
    torch.manual_seed(0)
    opt = options(tmp_path, val={'val_freq': val_freq})
    opt['train'].update(train)
    build_model(opt)
    lines = [line for line in told() if 'the average of the weights' in line]
    assert len(lines) == (part is not None)
    if part is not None:
        assert f'still {part:.0f} % the first weights' in lines[0]


def test_a_loss_without_a_share_is_told_without_being_asked(tmp_path, batch, told):
    losses = [{'type': 'L1Loss'}, {'type': 'MSELoss', 'loss_weight': 1e-6}]
    model = training(tmp_path, losses=losses)
    go(model, batch)
    [line] = told()
    assert line.startswith('iteration 1: the loss mse makes')
    assert not any(name.startswith('share_') for name in model.get_current_log()), 'logged only where wanted'
