"""HighFrequencyConfusion: what the critic sees, in the Fourier domain, for any adversarial loss inside."""

from __future__ import annotations

import pytest
import torch
from basicsr.losses import build_loss
from torch import Tensor, nn

from metaf2n_arch.functional.bands import radial_mask
from metaf2n_arch.losses.adversarial import AdversarialLoss, as_adversarial
from metaf2n_arch.losses.high_frequency_confusion_loss import HighFrequencyConfusion
from metaf2n_arch.utils.checks import OptionError

INNER = [
    {'type': 'GANLoss', 'gan_type': 'hinge', 'loss_weight': 0.1},
    {'type': 'RelativisticGANLoss', 'kind': 'RcGAN', 'loss_weight': 0.1},
    {'type': 'RelativisticGANLoss', 'kind': 'RaGP', 'loss_weight': 0.1},
]


@pytest.fixture
def images(astronaut_tensor: Tensor) -> tuple[Tensor, Tensor]:
    real = astronaut_tensor[..., :32, 200:240].double()
    return torch.nn.functional.avg_pool2d(real, 3, 1, 1).requires_grad_(), real


@pytest.fixture
def critic() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.LeakyReLU(0.2), nn.Conv2d(4, 1, 3)).double()


def confused(fake: Tensor, real: Tensor, cutoff: float) -> Tensor:
    """fake' of the paper on the full, shifted plane."""
    height, width = fake.shape[-2:]
    y = (torch.arange(height) - height // 2) / height
    x = (torch.arange(width) - width // 2) / width
    disc = (torch.hypot(y[:, None], x[None, :]) < cutoff / 2).double()
    first, second = (torch.fft.fftshift(torch.fft.fft2(z), dim=(-2, -1)) for z in (fake, real))
    mixed = first * disc + second * (1 - disc)
    return torch.fft.ifft2(torch.fft.ifftshift(mixed, dim=(-2, -1))).real


@pytest.mark.parametrize('inner', INNER)
def test_equals_the_inner_loss_on_confused_images(inner, images, critic) -> None:
    fake, real = images
    loss = build_loss({'type': 'HighFrequencyConfusion', 'loss': inner, 'cutoff': 0.3})
    plain = as_adversarial(build_loss(inner))
    if hasattr(plain, 'random'):
        loss.inner.random, plain.random = (torch.Generator().manual_seed(1) for _ in range(2))
    seen = confused(fake, real, 0.3)
    value, expected = loss.generator(critic, fake, real), plain.generator(critic, seen, real)
    torch.testing.assert_close(value, expected)
    ours, theirs = (torch.autograd.grad(v, fake)[0] for v in (value, expected))
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(loss.discriminator(critic, fake, real), plain.discriminator(critic, seen, real))
    assert loss.stats == loss.inner.stats != {}
    assert loss.loss_weight == 0.1
    assert isinstance(loss, AdversarialLoss)


def test_the_generator_learns_nothing_about_high_frequencies(images, critic) -> None:
    fake, real = images
    loss = HighFrequencyConfusion(INNER[0], cutoff=0.3)
    (gradient,) = torch.autograd.grad(loss.generator(critic, fake, real), fake)
    outside = 1 - radial_mask(32, 40, 0.3, gradient.device, gradient.dtype)
    spectrum = torch.fft.rfft2(gradient).abs()
    assert (spectrum * outside).max() < 1e-12 * spectrum.max()
    assert spectrum.max() > 0


def test_options_are_checked_and_left_alone() -> None:
    inner = {'type': 'GANLoss', 'gan_type': 'vanilla'}
    HighFrequencyConfusion(inner)
    assert inner == {'type': 'GANLoss', 'gan_type': 'vanilla'}
    with pytest.raises(OptionError, match='L1Loss is not an adversarial loss'):
        HighFrequencyConfusion({'type': 'L1Loss'})
    with pytest.raises(OptionError, match=r"HighFrequencyConfusion\.loss\.type is 'GANLos'.*Did you mean 'GANLoss'"):
        HighFrequencyConfusion({'type': 'GANLos'})
    with pytest.raises(OptionError, match='expected a block with a type'):
        HighFrequencyConfusion({'kind': 'RaGAN'})
    with pytest.raises(OptionError, match='cutoff is 0'):
        HighFrequencyConfusion(inner, cutoff=0)
