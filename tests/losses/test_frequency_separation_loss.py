"""FrequencySeparation: each loss sees its band and nothing of the other."""

from __future__ import annotations

import math

import pytest
import torch
from basicsr.losses import build_loss
from torch import Tensor, nn

from metaf2n_arch.functional.bands import sinc_low_pass
from metaf2n_arch.losses.adversarial import AdversarialLoss, as_adversarial
from metaf2n_arch.losses.frequency_separation_loss import FrequencySeparation
from metaf2n_arch.utils.checks import OptionError

L1 = {'type': 'L1Loss', 'loss_weight': 2.0}
GAN = {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1}


@pytest.fixture
def images(astronaut_tensor: Tensor) -> tuple[Tensor, Tensor]:
    target = astronaut_tensor[..., :48, 200:248].double()
    return torch.nn.functional.avg_pool2d(target, 5, 1, 2), target


def test_bands_are_a_partition(images) -> None:
    pred, target = images
    low, high = (FrequencySeparation(L1, band=band).band(pred) for band in ('low', 'high'))
    torch.testing.assert_close(low + high, pred)
    assert high.mean().abs() < 0.01
    value = FrequencySeparation(L1, band='low')(pred, target)
    expected = 2 * (sinc_low_pass(pred, 0.5) - sinc_low_pass(target, 0.5)).abs().mean()
    torch.testing.assert_close(value, expected)


def test_a_difference_in_one_band_is_seen_there_alone(images) -> None:
    target = images[1]
    ramp = torch.arange(48, dtype=torch.float64)
    slow, fast = (0.1 * torch.cos(2 * math.pi * k * ramp / 48).expand_as(target) for k in (2, 22))
    low, high = (FrequencySeparation(L1, band=band, cutoff=0.4) for band in ('low', 'high'))
    assert low(target + slow, target) > 10 * high(target + slow, target)
    assert high(target + fast, target) > 10 * low(target + fast, target)


def test_further_inputs_of_a_loss_pass_through(images) -> None:
    class Masked(nn.Module):
        inputs = ('pred', 'mask', 'target')

        def forward(self, pred: Tensor, mask: Tensor, target: Tensor) -> Tensor:
            return (mask * (pred - target)).abs().mean()

    pred, target = images
    mask = torch.zeros_like(pred)
    mask[..., :10] = 1
    loss = FrequencySeparation(Masked(), band='low')
    assert loss.inputs == Masked.inputs
    expected = (mask * (sinc_low_pass(pred, 0.5) - sinc_low_pass(target, 0.5))).abs().mean()
    torch.testing.assert_close(loss(pred, mask, target), expected)
    torch.testing.assert_close(loss(pred=pred, mask=mask, target=target), expected)


@pytest.mark.parametrize('inner', [GAN, {'type': 'RelativisticGANLoss', 'kind': 'RaLS'}])
@pytest.mark.parametrize('band', ['low', 'high'])
def test_an_adversarial_loss_sees_the_band_through_its_critic(inner, band, images) -> None:
    torch.manual_seed(0)
    critic = nn.Conv2d(3, 1, 3).double()
    fake, real = images[0].requires_grad_(), images[1]
    loss = build_loss({'type': 'FrequencySeparation', 'band': band, 'cutoff': 0.3, 'kernel_size': 13, 'loss': inner})
    assert isinstance(loss, AdversarialLoss)
    part = [sinc_low_pass(x, 0.3, 13) if band == 'low' else x - sinc_low_pass(x, 0.3, 13) for x in (fake, real)]
    plain = as_adversarial(build_loss(inner))
    torch.testing.assert_close(loss.generator(critic, fake, real), plain.generator(critic, *part))
    torch.testing.assert_close(loss.discriminator(critic, fake, real), plain.discriminator(critic, *part))
    assert loss.stats
    assert loss.loss_weight == plain.loss_weight
    loss.discriminator(critic, fake, real).backward()
    assert fake.grad is None


def test_wrappers_can_be_nested(images) -> None:
    confusion = {'type': 'HighFrequencyConfusion', 'loss': GAN, 'cutoff': 0.5}
    loss = build_loss({'type': 'FrequencySeparation', 'band': 'low', 'loss': confusion})
    assert isinstance(loss, AdversarialLoss)
    assert loss.generator(lambda x: x.mean((1, 2, 3)), *images) > 0


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'band': 'lo'}, r"band is 'lo'.*Did you mean 'low'"),
        ({'band': 'low', 'cutoff': 1.0}, 'cutoff is 1.0'),
        ({'band': 'low', 'kernel_size': 20}, 'kernel_size is 20, expected an odd'),
        ({'band': 'low', 'loss': {'type': 'L1Los'}}, "Did you mean 'L1Loss'"),
    ],
)
def test_bad_options_are_named(options, message) -> None:
    with pytest.raises(OptionError, match=message):
        FrequencySeparation(**{'loss': L1, **options})


def test_bad_images_are_named(images) -> None:
    loss = FrequencySeparation(L1, band='low')
    with pytest.raises(ValueError, match='must be equal'):
        loss(images[0][..., 1:], images[1])
    with pytest.raises(ValueError, match='needs images of 11x11'):
        loss(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))
