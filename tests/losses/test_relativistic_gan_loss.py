"""RelativisticGANLoss: each kind's two sides in float64, closed forms, and what the stock hinge gets wrong."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from basicsr.losses import build_loss
from basicsr.losses.gan_loss import GANLoss
from torch import Tensor, nn

from metaf2n_arch.losses.relativistic_gan_loss import KINDS, RelativisticGANLoss
from metaf2n_arch.utils.checks import OptionError


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    fake, real = torch.rand(2, 3, 3, 8, 8, generator=generator, dtype=torch.float64)
    return fake.requires_grad_(), real


@pytest.fixture
def critic() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.LeakyReLU(0.2), nn.Conv2d(4, 1, 3)).double()


def formula(kind: str, r: Tensor, f: Tensor) -> tuple[Tensor, Tensor]:
    """(L_G, L_D) from logits, with torch's own binary cross entropy."""
    if kind == 'WGANGP':
        return r.mean() - f.mean(), f.mean() - r.mean()
    middle = (r.mean() + f.mean()) / 2
    x_r, x_f = (r - f.mean(), f - r.mean()) if kind.startswith('Ra') else (r - middle, f - middle)
    ones, zeros = torch.ones_like(x_r), torch.zeros_like(x_r)
    bce = F.binary_cross_entropy_with_logits
    if kind.endswith(('GAN', 'GP')):
        return bce(x_f, ones) + bce(x_r, zeros), bce(x_r, ones) + bce(x_f, zeros)
    if kind.endswith('LS'):
        g = ((x_f - 1) ** 2).mean() + ((x_r + 1) ** 2).mean()
        return g, ((x_r - 1) ** 2).mean() + ((x_f + 1) ** 2).mean()
    return F.relu(1 - x_f).mean() + F.relu(1 + x_r).mean(), F.relu(1 - x_r).mean() + F.relu(1 + x_f).mean()


@pytest.mark.parametrize('kind', KINDS)
def test_both_sides_equal_the_formulas(kind, images, critic) -> None:
    fake, real = images
    loss = RelativisticGANLoss(kind, gp_weight=0.0, loss_weight=0.1)
    expected_g = formula(kind, critic(real).detach(), critic(fake))[0]
    value = loss.generator(critic, fake, real)
    torch.testing.assert_close(value, 0.1 * expected_g)
    ours, theirs = (torch.autograd.grad(v, fake, retain_graph=True)[0] for v in (value, 0.1 * expected_g))
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(loss.discriminator(critic, fake, real), formula(kind, critic(real), critic(fake))[1])


@pytest.mark.parametrize('kind', KINDS)
def test_the_generator_always_has_something_to_learn(kind, images, critic) -> None:
    fake, real = images
    (gradient,) = torch.autograd.grad(RelativisticGANLoss(kind).generator(critic, fake, real), fake)
    assert gradient.abs().max() > 0
    assert all(p.grad is None for p in critic.parameters())


def test_the_stock_relativistic_hinge_has_nothing_to_teach_and_ours_does(images, critic) -> None:
    fake, real = images
    stock, on_real = GANLoss('hinge'), critic(real).detach()
    on_fake = critic(fake)  # both terms as ESRGANModel.optimize_parameters forms them
    halves = stock(on_real - on_fake.mean(), False, is_disc=False) + stock(
        on_fake - on_real.mean(), True, is_disc=False
    )
    (gradient,) = torch.autograd.grad(halves, fake)
    assert abs(halves.item()) < 1e-12
    assert gradient.abs().max() < 1e-15
    for kind in ('RaHinge', 'RcHinge'):
        (gradient,) = torch.autograd.grad(RelativisticGANLoss(kind).generator(critic, fake, real), fake)
        assert gradient.abs().max() > 1e-4


@pytest.mark.parametrize('kind', KINDS)
def test_the_discriminator_learns_and_the_generator_does_not(kind, images, critic) -> None:
    fake, real = images
    loss = RelativisticGANLoss(kind)
    loss.discriminator(critic, fake, real).backward()
    assert fake.grad is None
    assert all(p.grad.abs().sum() > 0 for p in critic.parameters() if p.ndim > 1)
    assert loss.stats['out_d_real'].item() == pytest.approx(critic(real).mean().item())


@pytest.mark.parametrize('kind', ['RaLS', 'RcLS'])
def test_least_squares_in_closed_form(kind) -> None:
    """Constant logits a (real) and b (generated), with d = a - b: Ra gives 2(d ∓ 1)², Rc 2(d/2 ∓ 1)²."""
    fake, real = torch.full((2, 1, 4, 4), 0.3), torch.full((2, 1, 4, 4), 0.8)
    d = 0.5 if kind == 'RaLS' else 0.25
    loss = RelativisticGANLoss(kind)
    critic = lambda x: x.mean((1, 2, 3))  # noqa: E731 - an argument, not a function of this module
    assert loss.discriminator(critic, fake, real).item() == pytest.approx(2 * (d - 1) ** 2)
    assert loss.generator(critic, fake, real).item() == pytest.approx(2 * (d + 1) ** 2)


@pytest.mark.parametrize(('kind', 'without'), [('RaGP', 'RaGAN'), ('WGANGP', None)])
def test_penalised_kinds_are_their_loss_plus_the_penalty(kind, without, images, critic) -> None:
    fake, real = images
    steep = lambda x: 100 * x.flatten(1).sum(1)  # noqa: E731 - gradient norm 100·sqrt(3·8·8) everywhere
    unpenalised = RelativisticGANLoss(without or kind, gp_weight=0.0)
    plain = unpenalised.discriminator(steep, fake, real)
    loss = RelativisticGANLoss(kind, gp_weight=2.0)
    penalty = (100 * (3 * 8 * 8) ** 0.5 - 1) ** 2
    assert loss.discriminator(steep, fake, real).item() == pytest.approx(plain.item() + 2 * penalty)
    assert loss.stats['out_d_gp'].item() == pytest.approx(penalty)
    same_for_g = unpenalised.generator(critic, fake, real)
    torch.testing.assert_close(loss.generator(critic, fake, real), same_for_g)


def test_the_draw_of_the_penalty_can_be_repeated(images, critic) -> None:
    fake, real = images
    loss = RelativisticGANLoss('RaGP')
    values = []
    for seed in (1, 1, 2):
        loss.random = torch.Generator().manual_seed(seed)
        values.append(loss.discriminator(critic, fake, real).item())
    assert values[0] == values[1] != values[2]


def test_built_from_options_without_using_them_up() -> None:
    options = {'type': 'RelativisticGANLoss', 'kind': 'RcHinge', 'loss_weight': 0.1}
    loss = build_loss(options)
    assert (loss.kind, loss.loss_weight) == ('RcHinge', 0.1)
    assert options['type'] == 'RelativisticGANLoss'


def test_bad_options_and_critics_are_named(images) -> None:
    fake, real = images
    with pytest.raises(OptionError, match=r"kind is 'RaHing'.*Did you mean 'RaHinge'"):
        RelativisticGANLoss('RaHing')
    with pytest.raises(OptionError, match="gp_weight is '1e1', expected a finite number"):
        RelativisticGANLoss('RaGP', gp_weight='1e1')
    with pytest.raises(OptionError, match='gp_weight is -1'):
        RelativisticGANLoss('RaGP', gp_weight=-1)
    with pytest.raises(ValueError, match='must be equal'):
        RelativisticGANLoss().generator(lambda x: x, fake, real[..., 1:])
    with pytest.raises(ValueError, match='expected logits of shape'):
        RelativisticGANLoss().generator(lambda x: x.mean(), fake, real)
    with pytest.raises(ValueError, match='expected one tensor of logits'):
        RelativisticGANLoss().generator(lambda x: [x, x], fake, real)
