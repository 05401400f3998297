"""FFTLoss, DCTLoss, SpectralLoss and FocalFrequencyLoss as BasicSR builds them, on photographs; bad inputs."""

from __future__ import annotations

import pytest
import torch
from basicsr.losses import build_loss

from metaf2n_arch.functional.frequency import fft_distance, focal_frequency_distance
from metaf2n_arch.losses.dct_loss import DCTLoss
from metaf2n_arch.losses.fft_loss import FFTLoss
from metaf2n_arch.losses.focal_frequency_loss import FocalFrequencyLoss
from metaf2n_arch.losses.spectral_loss import SpectralLoss
from metaf2n_arch.utils.checks import OptionError

NAMES = ['FFTLoss', 'DCTLoss', 'SpectralLoss', 'FocalFrequencyLoss']


@pytest.mark.parametrize('name', NAMES)
def test_built_from_yaml_weighted_and_smallest_at_the_target(name, photos) -> None:
    blurred, sharp = photos
    loss = build_loss({'type': name})
    value, floor = loss(blurred, sharp), loss(sharp, sharp)
    assert value.shape == ()
    assert value > floor
    assert floor == 0 or name == 'SpectralLoss'
    half = build_loss({'type': name, 'loss_weight': 0.5})
    torch.testing.assert_close(half(blurred, sharp, weight=None), 0.5 * value)


@pytest.mark.parametrize('name', NAMES)
def test_a_step_downhill_lowers_the_loss(name, photos) -> None:
    blurred, sharp = photos
    pred = blurred.clone().requires_grad_()
    loss = build_loss({'type': name})
    value = loss(pred, sharp)
    value.backward()
    step = 1e-3 * pred.grad / pred.grad.abs().max()
    assert loss(blurred - step, sharp) < value


@pytest.mark.parametrize('name', [*NAMES[:2], NAMES[3]])
def test_the_loss_of_a_batch_is_the_mean_of_its_images(name, photos) -> None:
    loss = build_loss({'type': name})
    single = torch.stack([loss(b[None], s[None]) for b, s in zip(*photos)])
    torch.testing.assert_close(loss(*photos), single.mean())


def test_losses_are_the_functions_they_name(photos) -> None:
    torch.testing.assert_close(FFTLoss(order=2)(*photos), fft_distance(*photos, order=2).mean())
    options = {'alpha': 0.5, 'patch_factor': 1, 'ave_spectrum': True, 'log_matrix': True, 'batch_matrix': True}
    expected = focal_frequency_distance(*photos, alpha=0.5, average=True, log_weight=True, batch_weight=True)
    torch.testing.assert_close(FocalFrequencyLoss(**options)(*photos), expected)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_images_are_compared_in_single_precision(name, dtype, photos) -> None:
    loss = build_loss({'type': name})
    halves = [x.to(dtype) for x in photos]
    value = loss(*halves)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(*[x.float() for x in halves]))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        torch.testing.assert_close(loss(*photos), build_loss({'type': name})(*photos))


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize(
    ('pred', 'target', 'message'),
    [
        (torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 9), r'pred has shape \(1, 3, 8, 8\) and target \(1, 3, 8, 9\)'),
        (torch.zeros(3, 8, 8), torch.zeros(3, 8, 8), r'expected \(B, C, H, W\)'),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(1, 3, 8, 8), 'pred has dtype torch.uint8'),
        (torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8, dtype=torch.complex64), 'target has dtype torch.complex64'),
    ],
)
def test_bad_images_are_named(name, pred, target, message) -> None:
    with pytest.raises(ValueError, match=message):
        build_loss({'type': name})(pred, target)


def test_bad_options_are_named() -> None:
    for cls in (FFTLoss, DCTLoss):
        with pytest.raises(OptionError, match=f'{cls.__name__} order is 3, expected 1'):
            cls(order=3)
    with pytest.raises(OptionError, match=r"SpectralLoss scale is 'powr'.*Did you mean 'power'"):
        SpectralLoss(scale='powr')
    with pytest.raises(OptionError, match='alpha is None, expected a finite number'):
        FocalFrequencyLoss(alpha=None)
    with pytest.raises(OptionError, match='alpha is -1'):
        FocalFrequencyLoss(alpha=-1)
    with pytest.raises(OptionError, match='patch_factor is 0'):
        FocalFrequencyLoss(patch_factor=0)
    with pytest.raises(ValueError, match='have 2 channels, expected 3'):
        SpectralLoss()(torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 8, 8))
