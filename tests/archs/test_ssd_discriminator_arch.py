"""SSDDiscriminator: the weighted sum it is named for, its spectrum, and every adversarial loss on top of it."""

from __future__ import annotations

import pytest
import torch
from basicsr.archs import build_network
from torch import Tensor, nn

from metaf2n_arch.archs.ssd_discriminator_arch import SSDDiscriminator
from metaf2n_arch.functional.spectrum import normalised_spectrum
from metaf2n_arch.images.luminance import luminance
from metaf2n_arch.losses.relativistic_gan_loss import KINDS, RelativisticGANLoss
from metaf2n_arch.utils.checks import OptionError

UNET = {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 8}


@pytest.fixture
def images(astronaut_tensor: Tensor) -> Tensor:
    return torch.cat([astronaut_tensor[..., :48, 200:264], astronaut_tensor[..., 60:108, 220:284]])


@pytest.mark.parametrize('weight', [0.0, 0.3, 1.0])
def test_output_is_the_weighted_sum_of_both_judges(weight, images) -> None:
    torch.manual_seed(0)
    options = {'type': 'SSDDiscriminator', 'discriminator': UNET, 'spatial_weight': weight, 'bins': 20}
    net = build_network(options).eval()
    actual = net(images)
    spectrum = normalised_spectrum(luminance(images)[:, 0], 'log', 20)
    spectral = (spectrum @ net.classifier.weight.t() + net.classifier.bias).view(2, 1, 1, 1)
    expected = weight * net.discriminator(images) + (1 - weight) * spectral
    torch.testing.assert_close(actual, expected)
    assert actual.shape == (2, 1, 48, 64)


def test_a_discriminator_of_single_logits_works_too(images) -> None:
    judge = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1))
    assert SSDDiscriminator(judge, bins=8)(images).shape == (2, 1)


def test_the_spectrum_alone_tells_enlarged_photos_from_sharp_ones(astronaut_tensor) -> None:
    from skimage import data

    def crops(photo: Tensor) -> Tensor:
        return photo.unfold(2, 64, 64).unfold(3, 64, 64).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 64, 64)

    def enlarged(x: Tensor) -> Tensor:
        small = torch.nn.functional.avg_pool2d(x, 2)
        return torch.nn.functional.interpolate(small, scale_factor=2, mode='bilinear')

    torch.manual_seed(0)
    judge = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1))
    net = SSDDiscriminator(judge, spatial_weight=0.0)
    loss = RelativisticGANLoss('RaGAN')
    optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
    real = crops(astronaut_tensor)
    for _ in range(30):
        optimizer.zero_grad()
        loss.discriminator(net, enlarged(real), real).backward()
        optimizer.step()

    unseen = crops(torch.from_numpy(data.coffee().copy()).permute(2, 0, 1)[None, :, :384, :576].float() / 255)
    with torch.no_grad():
        wins = (net(unseen) > net(enlarged(unseen))).float().mean()
    assert wins > 0.9


@pytest.mark.parametrize('differentiable', [True, False])
def test_the_generator_learns_through_the_spectrum_only_if_asked(differentiable, images) -> None:
    judge = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1))
    net = SSDDiscriminator(judge, spatial_weight=0.0, bins=16, differentiable=differentiable)
    x = images.clone().requires_grad_()
    net(x).sum().backward()
    assert (x.grad.abs().max() > 0) == differentiable
    assert net.classifier.weight_orig.grad.abs().max() > 0


@pytest.mark.parametrize('kind', KINDS)
def test_all_relativistic_losses_train_it(kind, images) -> None:
    torch.manual_seed(0)
    net = SSDDiscriminator(UNET, bins=16)
    loss = RelativisticGANLoss(kind)
    fake = torch.nn.functional.avg_pool2d(images, 3, 1, 1)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    loss.discriminator(net, fake, images).backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())
    assert net.classifier.weight_orig.grad.abs().sum() > 0
    optimizer.step()
    fake.requires_grad_()
    loss.generator(net, fake, images).backward()
    assert torch.isfinite(fake.grad).all()
    assert fake.grad.abs().max() > 0


def test_state_survives_saving(images, tmp_path) -> None:
    first, second = SSDDiscriminator(UNET, bins=16).eval(), SSDDiscriminator(UNET, bins=16).eval()
    torch.save(first.state_dict(), tmp_path / 'net.pth')
    second.load_state_dict(torch.load(tmp_path / 'net.pth', weights_only=True))
    torch.testing.assert_close(second(images), first(images))


def test_bad_options_and_images_are_named(images) -> None:
    with pytest.raises(OptionError, match="Did you mean 'UNetDiscriminatorSN'"):
        SSDDiscriminator({'type': 'UNetDiscriminatorS'})
    with pytest.raises(OptionError, match='expected a block with a type'):
        SSDDiscriminator({'num_in_ch': 3})
    with pytest.raises(OptionError, match=r'SSDDiscriminator\.discriminator: UNetDiscriminatorSN cannot .*num_feats'):
        SSDDiscriminator({**UNET, 'num_feats': 8})
    with pytest.raises(OptionError, match=r'spatial_weight is 1\.5'):
        SSDDiscriminator(UNET, spatial_weight=1.5)
    with pytest.raises(OptionError, match='bins is 1'):
        SSDDiscriminator(UNET, bins=1)
    with pytest.raises(ValueError, match='frequencies for 9 bins, got 33 bins'):
        SSDDiscriminator(UNET)(images[..., :16, :16])

    for wrong, found in (((images * 255).byte(), 'uint8'), (torch.complex(images, images), 'complex')):
        with pytest.raises(ValueError, match=f'dtype torch.{found}.*expected a floating-point image'):
            SSDDiscriminator(UNET, bins=8)(wrong)

    class Forgetful(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean()

    with pytest.raises(ValueError, match=r'returned \(\) for 2 images'):
        SSDDiscriminator(Forgetful(), bins=8)(images)
