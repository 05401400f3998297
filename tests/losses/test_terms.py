"""The list of losses: what each entry is fed, how it is weighed and logged, and which entries are refused."""

import pytest
import torch
from torch import nn

from metaf2n_arch.losses.terms import LossTerms
from metaf2n_arch.utils.checks import OptionError


@pytest.fixture
def images(astronaut_tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    gt = astronaut_tensor[:, :, 40:72, 180:212]
    return (gt * 0.9 + 0.03).requires_grad_(), gt


def test_the_total_is_the_weighted_sum_and_each_share_is_logged(images):
    pred, gt = images
    terms = LossTerms([{'type': 'L1Loss', 'loss_weight': 2.0}, {'type': 'MSELoss', 'loss_weight': 3.0, 'name': 'l2'}])
    total, values = terms.generator(pred, {'gt': gt})
    l1, l2 = 2 * (pred - gt).abs().mean(), 3 * ((pred - gt) ** 2).mean()
    torch.testing.assert_close(total, l1 + l2)
    torch.testing.assert_close(values, {'l_g_l1': l1.detach(), 'l_g_l2': l2.detach()})
    grad = torch.autograd.grad(total, pred)[0]
    torch.testing.assert_close(grad, torch.autograd.grad(l1 + l2, pred)[0])


def test_a_term_compares_with_the_target_it_names(images):
    pred, gt = images
    terms = LossTerms([{'type': 'L1Loss', 'target': 'gt_usm'}])
    sharpened = (gt * 1.1).clamp(0, 1)
    total, _ = terms.generator(pred, {'gt': gt, 'gt_usm': sharpened})
    assert terms.needs_usm
    torch.testing.assert_close(total, (pred - sharpened).abs().mean())


def test_a_loss_is_fed_what_its_inputs_name():
    terms = LossTerms([{'type': 'MaskRegularizerLoss', 'loss_weight': 0.5}])
    confidence = torch.tensor([0.5, 1.0, 3.0]).view(1, 1, 1, 3)
    assert terms.needs('confidence')
    total, _ = terms.generator(torch.zeros(1, 3, 4, 4), {'gt': torch.zeros(1, 3, 4, 4), 'confidence': confidence})
    assert total.item() == pytest.approx(0.5 * (0.25 + 0 + 4) / 3 / 2)


def test_a_term_counts_from_its_first_iteration_on(images):
    pred, gt = images
    terms = LossTerms([{'type': 'L1Loss'}, {'type': 'MSELoss', 'start_iter': 10}])
    assert set(terms.generator(pred, {'gt': gt}, current_iter=9)[1]) == {'l_g_l1'}
    assert set(terms.generator(pred, {'gt': gt}, current_iter=10)[1]) == {'l_g_l1', 'l_g_mse'}


def test_the_stock_gan_loss_serves_both_players(images):
    pred, gt = images
    critic = nn.Conv2d(3, 1, 3)
    terms = LossTerms([{'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1}])
    bce = nn.functional.binary_cross_entropy_with_logits
    fake, real = critic(pred), critic(gt)
    total, _ = terms.generator(pred, {'gt': gt}, critic)
    torch.testing.assert_close(total, 0.1 * bce(fake, torch.ones_like(fake)))
    total, values = terms.discriminator(pred, {'gt': gt}, critic)
    torch.testing.assert_close(total, bce(real, torch.ones_like(real)) + bce(fake, torch.zeros_like(fake)))
    torch.testing.assert_close(values['out_d_real_gan'], real.mean().detach())
    assert terms.needs_critic


def test_an_adversarial_term_without_a_critic_is_an_error(images):
    pred, gt = images
    with pytest.raises(OptionError, match='network_d'):
        LossTerms([{'type': 'GANLoss', 'gan_type': 'vanilla'}]).generator(pred, {'gt': gt})


@pytest.mark.parametrize(
    ('entries', 'message'),
    [
        ([], 'is empty'),
        ([{'loss_weight': 1.0}], r'train\.losses\.0.*`type`'),
        ([{'type': 'L1Loss', 'target': 'gt_ums'}], "Did you mean 'gt_usm'"),
        ([{'type': 'L1Loss'}, {'type': 'L1Loss'}], 'another term already has the name'),
        ([{'type': 'L1Loss', 'start_iter': -1}], 'greater than or equal to 0'),
        ([{'type': 'FFTLoss', 'loss_weight': 'a'}], r"^train\.losses\.0: FFTLoss cannot be built with .*'a'"),
        ([{'type': 'FFTLoss', 'ordr': 1}], r"^train\.losses\.0: FFTLoss cannot be built with .*'ordr'"),
        ([{'type': 'L1Loss'}, {'type': 'RelativisticGANLoss', 'kind': 'RaGan'}], r"^train\.losses\.1: .*'RaGAN'\?$"),
        (
            [{'type': 'RelativisticGANLoss', 'gp_weight': 'x'}],
            r"^train\.losses\.0: RelativisticGANLoss gp_weight is 'x', expected a finite number",
        ),
    ],
)
def test_a_wrong_list_is_one_clear_error(entries, message):
    with pytest.raises(OptionError, match=message):
        LossTerms(entries)
