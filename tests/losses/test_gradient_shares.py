"""A loss's share of the output's gradient: closed forms, images one after the other, and in both models' logs."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from basicsr.models import build_model
from basicsr.utils import get_root_logger

from metaf2n_arch.losses.gradient_shares import GradientShares
from metaf2n_arch.losses.terms import LossTerms


def windows(photo: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two windows of a photograph, and their blurred selves as the output."""
    gt = torch.cat([photo[..., y : y + 32, 180:212] for y in (30, 90)])
    blurred = F.interpolate(F.avg_pool2d(gt, 4), scale_factor=4, mode='bilinear')
    return blurred.requires_grad_(), gt


def test_shares_are_those_of_the_closed_form_gradients(astronaut_tensor) -> None:
    pred, gt = windows(astronaut_tensor)
    terms = LossTerms([{'type': 'L1Loss', 'loss_weight': 0.5}, {'type': 'MSELoss', 'loss_weight': 2.0}])
    influence = GradientShares()
    terms.generator(pred, {'gt': gt}, influence=influence)
    difference = (pred - gt).detach()
    l1 = 0.5 / math.sqrt(pred.numel()) * (difference != 0).float().mean().sqrt()
    l2 = 2 * 2 * difference.norm() / pred.numel()
    shares = influence.values()
    assert list(shares) == ['share_l1', 'share_mse']
    torch.testing.assert_close(shares['share_l1'], l1 / (l1 + l2))
    torch.testing.assert_close(shares['share_mse'], l2 / (l1 + l2))


def test_measuring_leaves_value_and_gradient_as_they_were(astronaut_tensor) -> None:
    pred, gt = windows(astronaut_tensor)
    terms = LossTerms([{'type': 'L1Loss'}, {'type': 'SSLLoss', 'loss_weight': 10.0, 'mask_stride': 3}])
    plain, _ = terms.generator(pred, {'gt': gt})
    measured, _ = terms.generator(pred, {'gt': gt}, influence=GradientShares())
    assert torch.equal(plain, measured)
    assert torch.equal(*(torch.autograd.grad(value, pred)[0] for value in (plain, measured)))


def test_images_one_after_the_other_give_the_shares_of_the_batch(astronaut_tensor) -> None:
    pred, gt = windows(astronaut_tensor)
    terms = LossTerms([{'type': 'L1Loss'}, {'type': 'SSLLoss', 'loss_weight': 0.05, 'reduction': 'window'}])
    whole, parts = GradientShares(), GradientShares()
    terms.generator(pred, {'gt': gt}, influence=whole)
    for i, shares in enumerate(terms.shares({'gt': gt})):
        terms.generator(pred[i : i + 1], {'gt': gt[i : i + 1]}, shares=shares, influence=parts)
    for name, share in whole.values().items():
        torch.testing.assert_close(parts.values()[name], share, rtol=1e-4, atol=0)


def test_what_does_not_see_the_output_has_no_share(astronaut_tensor) -> None:
    pred, gt = windows(astronaut_tensor)
    confidence = torch.ones(2, 1, 8, 8, requires_grad=True)
    influence = GradientShares()
    terms = LossTerms([{'type': 'MaskRegularizerLoss'}, {'type': 'L1Loss'}])
    terms.generator(pred, {'gt': gt, 'confidence': confidence}, influence=influence)
    assert {name: value.item() for name, value in influence.values().items()} == {'share_l1': 1.0}
    with torch.no_grad():
        terms.generator(pred, {'gt': gt, 'confidence': confidence}, influence=influence)
    assert GradientShares().values() == {}


def gan_model(folder: Path, losses: list[dict[str, Any]], **logger: Any) -> Any:
    torch.manual_seed(0)
    network = {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 2, 'upscale': 4, 'act_type': 'prelu'}
    optimizer = {'type': 'SGD', 'lr': 1e-6}
    train = {'total_iter': 10, 'optim_g': optimizer, 'optim_d': optimizer, 'losses': losses}
    return build_model(
        {
            'name': 'shares', 'model_type': 'GANSRModel', 'scale': 4, 'num_gpu': 0, 'dist': False, 'rank': 0,
            'world_size': 1, 'is_train': True, 'manual_seed': 0, 'path': {'models': str(folder)},
            'network_g': network, 'network_d': {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 8},
            'logger': {'print_freq': 2, **logger},
            'train': {**train, 'scheduler': {'type': 'MultiStepLR', 'milestones': [100]}},
        }
    )  # fmt: skip


def warnings_of(caplog) -> list[str]:
    return [r.message for r in caplog.records if r.levelno == logging.WARNING and 'of the gradient' in r.message]


@pytest.fixture
def caplog_of_host(caplog):
    """The host's logger keeps its records to itself."""
    logger = get_root_logger()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def test_a_training_logs_shares_where_it_prints_and_warns_once_of_a_loss_that_does_nothing(
    astronaut_tensor, tmp_path, caplog_of_host
) -> None:
    losses = [
        {'type': 'L1Loss'},
        {'type': 'SSLLoss', 'loss_weight': 0.05, 'mask_stride': 3},
        {'type': 'SSLLoss', 'name': 'norm', 'loss_weight': 0.05, 'mask_stride': 3, 'reduction': 'window'},
        {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1},
    ]
    model = gan_model(tmp_path, losses, loss_shares=True)
    gt = astronaut_tensor[..., 30:94, 160:224]
    for iteration in range(1, 5):
        model.feed_data({'lq': F.avg_pool2d(gt, 4), 'gt': gt})
        model.optimize_parameters(iteration)
        shares = {k: v for k, v in model.get_current_log().items() if k.startswith('share_')}
        if iteration % 2:
            assert not shares
            continue
        assert set(shares) == {'share_l1', 'share_ssl', 'share_norm', 'share_gan'}
        assert sum(shares.values()) == pytest.approx(1)
        # Summed over the window, the loss and its gradient are K² = 625 times the mean's.
        assert shares['share_norm'] == pytest.approx(625 * shares['share_ssl'], rel=1e-3)
        assert shares['share_ssl'] < 0.005 < shares['share_norm']
    said = warnings_of(caplog_of_host)
    assert len([line for line in said if line.startswith('iteration 2: the loss ssl makes 0.0')]) == 1
    for wrong in ('loss l1', 'loss norm', 'iteration 4: the loss ssl'):
        assert not [line for line in said if wrong in line]


def test_without_the_option_nothing_is_measured(astronaut_tensor, tmp_path) -> None:
    model = gan_model(tmp_path, [{'type': 'L1Loss'}])
    gt = astronaut_tensor[..., 30:94, 160:224]
    model.feed_data({'lq': F.avg_pool2d(gt, 4), 'gt': gt})
    model.optimize_parameters(2)
    assert not [name for name in model.get_current_log() if name.startswith('share_')]
