"""The adversarial interface and the adapter for BasicSR's GANLoss, against the textbook formulas."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from basicsr.losses.gan_loss import GANLoss, MultiScaleGANLoss
from torch import Tensor, nn

from metaf2n_arch.losses.adversarial import AdversarialLoss, StockAdversarialLoss, as_adversarial
from metaf2n_arch.utils.checks import OptionError

KINDS = ['vanilla', 'lsgan', 'wgan', 'wgan_softplus', 'hinge']


def formulas(kind: str, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """(L_G, L_D) from logits, written out."""
    if kind == 'vanilla':
        return -torch.log(torch.sigmoid(fake)).mean(), -(
            torch.log(torch.sigmoid(real)).mean() + torch.log(1 - torch.sigmoid(fake)).mean()
        )
    if kind == 'lsgan':
        return ((fake - 1) ** 2).mean(), ((real - 1) ** 2).mean() + (fake**2).mean()
    if kind == 'wgan':
        return -fake.mean(), fake.mean() - real.mean()
    if kind == 'wgan_softplus':
        return torch.log1p(torch.exp(-fake)).mean(), (
            torch.log1p(torch.exp(-real)) + torch.log1p(torch.exp(fake))
        ).mean()
    return -fake.mean(), (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean()


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    fake, real = torch.rand(2, 2, 3, 8, 8, generator=generator, dtype=torch.float64)
    return fake.requires_grad_(), real


@pytest.fixture
def critic() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.LeakyReLU(0.2), nn.Conv2d(4, 1, 3)).double()


@pytest.mark.parametrize('kind', KINDS)
def test_stock_losses_equal_the_textbook_formulas(kind, images, critic) -> None:
    fake, real = images
    loss = as_adversarial(GANLoss(kind, loss_weight=0.1))
    expected_g, expected_d = formulas(kind, critic(real), critic(fake))
    torch.testing.assert_close(loss.generator(critic, fake, real), 0.1 * expected_g)
    torch.testing.assert_close(loss.discriminator(critic, fake, real), expected_d)


@pytest.mark.parametrize('kind', KINDS)
def test_each_player_gets_its_own_gradient_and_nobody_elses(kind, images, critic) -> None:
    fake, real = images
    loss = StockAdversarialLoss(GANLoss(kind))
    (gradient,) = torch.autograd.grad(loss.generator(critic, fake, real), fake)
    assert gradient.abs().sum() > 0

    loss.discriminator(critic, fake, real).backward()
    assert fake.grad is None
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in critic.parameters() if p.ndim > 1)


def test_discriminator_records_the_mean_logits(images, critic) -> None:
    fake, real = images
    loss = as_adversarial(GANLoss('vanilla'))
    loss.discriminator(critic, fake, real)
    assert loss.stats['out_d_real'].item() == pytest.approx(critic(real).mean().item())
    assert loss.stats['out_d_fake'].item() == pytest.approx(critic(fake).mean().item())
    assert not any(value.requires_grad for value in loss.stats.values())


def test_multi_scale_discriminators_return_lists(images, critic) -> None:
    fake, real = images

    def two_scales(x: Tensor) -> list[Tensor]:
        return [critic(x), critic(F.avg_pool2d(x, 1))]

    loss = as_adversarial(MultiScaleGANLoss('lsgan'))
    single = as_adversarial(GANLoss('lsgan'))
    torch.testing.assert_close(loss.generator(two_scales, fake, real), single.generator(critic, fake, real))


def test_adversarial_losses_pass_through_and_others_are_refused() -> None:
    loss = StockAdversarialLoss(GANLoss('hinge'))
    assert as_adversarial(loss) is loss
    with pytest.raises(OptionError, match='L1Loss is not an adversarial loss'):
        as_adversarial(nn.L1Loss())
    with pytest.raises(OptionError, match='StockAdversarialLoss is an adversarial loss'):
        loss(torch.zeros(1), torch.zeros(1))
    assert isinstance(loss, AdversarialLoss)


@pytest.mark.parametrize(
    ('critic', 'message'),
    [
        (lambda x: x.mean(), r'returned \(\) for 2 images; expected logits of shape \(2, ...\)'),
        (lambda x: x.mean((0, 2, 3)), r'returned \(3,\) for 2 images'),
        (lambda x: {'logits': x}, 'returned dict for 2 images'),
        (lambda x: x.mean((1, 2, 3)).long(), r'logits of torch\.int64, expected floating-point'),
    ],
)
def test_a_critic_without_a_batch_dimension_is_named(critic, message, images) -> None:
    fake, real = images
    with pytest.raises(ValueError, match=message):
        as_adversarial(GANLoss('vanilla')).generator(critic, fake, real)


@pytest.mark.parametrize(
    ('fake', 'real', 'message'),
    [
        (torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 9), 'must be equal'),
        (torch.zeros(3, 8, 8), torch.zeros(3, 8, 8), r'fake has shape \(3, 8, 8\)'),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(2, 3, 8, 8), 'dtype torch.uint8'),
        (torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 8, dtype=torch.complex64), 'real has dtype torch.complex64'),
    ],
)
def test_bad_images_are_named(fake, real, message) -> None:
    with pytest.raises(ValueError, match=message):
        as_adversarial(GANLoss('vanilla')).discriminator(lambda x: x.mean((1, 2, 3)), fake, real)
