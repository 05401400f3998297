"""Azimuthal integration against a loop over all pixels, analytic spectra, and finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from metaf2n_arch.functional.spectrum import azimuthal_mean, normalised_spectrum, power_spectrum, radial_power_spectrum
from metaf2n_arch.images.luminance import luminance

SIZES = [(16, 16), (15, 15), (12, 20), (21, 13), (2, 3), (3, 2), (7, 64), (28, 40)]


def loop(x: np.ndarray) -> list[float]:
    """One-dimensional power spectrum of a gray image: every pixel of the full plane into its ring, one by one."""
    height, width = x.shape
    power = np.abs(np.fft.fft2(x, norm='ortho')) ** 2
    bins = min(height, width) // 2 + 1
    rings: list[list[float]] = [[] for _ in range(bins)]
    for i in range(height):
        for j in range(width):
            f_y = (i if i <= height // 2 else i - height) / height
            f_x = (j if j <= width // 2 else j - width) / width
            ring = round(math.hypot(f_y, f_x) * 2 * (bins - 1) - 1e-9)  # half-way to the lower
            if ring < bins:
                rings[ring].append(power[i, j])
    return [sum(ring) / len(ring) for ring in rings]


@pytest.mark.parametrize('size', SIZES)
def test_equals_a_loop_over_all_pixels(size) -> None:
    x = torch.rand(size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(radial_power_spectrum(x).numpy(), np.array(loop(x.numpy())))


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.integers(2, 40))
def test_equals_the_loop_at_any_size(height: int, width: int) -> None:
    x = torch.rand(height, width, dtype=torch.float64)
    torch.testing.assert_close(radial_power_spectrum(x).numpy(), np.array(loop(x.numpy())))


@pytest.mark.parametrize('side', [16, 17, 63, 64])
@pytest.mark.parametrize('vertical', [True, False])
def test_a_pure_wave_falls_into_its_own_bin(side, vertical) -> None:
    phase = torch.arange(side, dtype=torch.float64) / side
    for k in range(side // 2 + 1):
        wave = torch.cos(2 * math.pi * k * phase).expand(side, side)
        spectrum = radial_power_spectrum(wave.t() if vertical else wave)
        assert spectrum.argmax().item() == k
        others = spectrum[torch.arange(len(spectrum)) != k]
        assert others.max().item() < 1e-20 * spectrum[k].item()


def test_a_slanted_wave_falls_on_the_ring_of_its_length() -> None:
    y, x = torch.meshgrid(*[torch.arange(32, dtype=torch.float64)] * 2, indexing='ij')
    spectrum = radial_power_spectrum(torch.cos(2 * math.pi * (6 * y + 8 * x) / 32))
    assert spectrum.argmax().item() == 10  # hypot(6, 8)
    assert spectrum.sum().item() == pytest.approx(spectrum[10].item())


def test_a_wave_means_the_same_in_an_image_that_is_not_square() -> None:
    wave = torch.cos(2 * math.pi * torch.arange(96, dtype=torch.float64) / 8)  # one period in 8 pixels
    wide = radial_power_spectrum(wave.expand(48, 96))
    tall = radial_power_spectrum(wave.expand(48, 96).t())
    square = radial_power_spectrum(wave[:48].expand(48, 48))
    assert wide.argmax().item() == tall.argmax().item() == square.argmax().item() == 6  # 48 / 8


def test_white_noise_is_flat() -> None:
    noise = torch.randn(200, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    spectrum = radial_power_spectrum(noise).mean(0)
    rings = torch.full((33,), 1.0, dtype=torch.float64)
    torch.testing.assert_close(spectrum, rings, atol=0.25, rtol=0)  # bin 0 holds 200 draws: 0.1 is its deviation
    torch.testing.assert_close(spectrum[4:], rings[4:], atol=0.03, rtol=0)


def test_an_impulse_is_exactly_flat() -> None:
    impulse = torch.zeros(9, 14, dtype=torch.float64)
    impulse[4, 3] = 1
    spectrum = radial_power_spectrum(impulse)
    torch.testing.assert_close(spectrum, torch.full_like(spectrum, 1 / (9 * 14)))


@pytest.mark.parametrize('size', [(6, 6), (5, 8)])
def test_gradient_matches_finite_differences(size) -> None:
    x = torch.rand(2, *size, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(radial_power_spectrum, x)
    for scale in ('power', 'log'):
        assert torch.autograd.gradcheck(lambda t, s=scale: normalised_spectrum(t, s), x)


def test_normalised_spectra_ignore_brightness_and_stay_in_range(astronaut_tensor: Tensor) -> None:
    gray = luminance(astronaut_tensor)[:, 0]
    power, log = normalised_spectrum(gray), normalised_spectrum(gray, 'log')
    for spectrum, scale in ((power, 'power'), (log, 'log')):
        assert spectrum.shape == (1, 257)
        assert 0 <= spectrum.min() <= spectrum.max() <= 1
        torch.testing.assert_close(normalised_spectrum(gray / 3, scale), spectrum, rtol=1e-3, atol=1e-5)
    assert power[0, 0] == 1
    assert log.min() == 0
    assert log.max() == 1


def test_log_spectrum_equals_the_authors_recipe() -> None:
    """20 log |F|, averaged over rings, minus its minimum, over its range; on our rings."""
    x = torch.rand(16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    decibel = 20 * np.log(np.abs(np.fft.rfft2(x.numpy())))
    mean = azimuthal_mean(torch.from_numpy(decibel), 16, 16).numpy()
    expected = (mean - mean.min()) / (mean.max() - mean.min())
    torch.testing.assert_close(normalised_spectrum(x, 'log').numpy(), expected)


def test_a_black_image_has_no_spectrum_but_no_nan() -> None:
    black = torch.zeros(8, 8, requires_grad=True)
    for scale in ('power', 'log'):
        spectrum = normalised_spectrum(black, scale)
        spectrum.sum().backward()
        assert spectrum.abs().max() < 0.1
    assert torch.isfinite(black.grad).all()


def test_power_sums_to_the_energy_of_the_image() -> None:
    from metaf2n_arch.functional.spectrum import multiplicity

    for width in (8, 9):
        x = torch.rand(6, width, dtype=torch.float64)
        weight = multiplicity(6, width, x.device, x.dtype)
        torch.testing.assert_close((power_spectrum(x) * weight).sum(), x.square().sum())


def test_maps_made_in_inference_mode_can_be_trained_with() -> None:
    x = torch.rand(10, 26)
    with torch.inference_mode():
        radial_power_spectrum(x)
    y = x.clone().requires_grad_()
    radial_power_spectrum(y).sum().backward()
    assert torch.isfinite(y.grad).all()


def test_impossible_requests_are_named() -> None:
    with pytest.raises(ValueError, match='have frequencies for 5 bins, got 64 bins'):
        radial_power_spectrum(torch.rand(8, 8), bins=64)
    with pytest.raises(ValueError, match='images of 2x2'):
        radial_power_spectrum(torch.rand(1, 8))
    with pytest.raises(ValueError, match=r'have 4 channels, expected 3'):
        luminance(torch.rand(1, 4, 8, 8))


@pytest.mark.parametrize('size', SIZES)
def test_gradient_in_closed_form_is_that_of_the_plain_operations(size) -> None:
    x = torch.rand(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    bins = min(size) // 2 + 1
    weight = torch.rand(2, 3, bins, dtype=torch.float64)
    (ours,) = torch.autograd.grad((radial_power_spectrum(x) * weight).sum(), x)
    (plain,) = torch.autograd.grad((azimuthal_mean(power_spectrum(x), *size) * weight).sum(), x)
    torch.testing.assert_close(ours, plain)


@pytest.mark.parametrize(('size', 'bins'), [((4, 4), None), ((3, 5), None), ((6, 4), 2)])
def test_second_derivative_matches_finite_differences(size, bins) -> None:
    x = torch.rand(2, *size, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda t: radial_power_spectrum(t, bins), x)


def test_gradient_is_the_same_each_time_and_in_any_layout() -> None:
    x = torch.rand(2, 3, 20, 24)
    gradients = []
    for layout in (x, x.clone(), x.to(memory_format=torch.channels_last), x.transpose(2, 3).contiguous().mT):
        leaf = layout.detach().requires_grad_()
        spectrum = radial_power_spectrum(luminance(leaf))
        spectrum.log().sum().backward(retain_graph=True)
        first = leaf.grad.clone()
        spectrum.log().sum().backward()
        assert torch.equal(leaf.grad, 2 * first)
        gradients.append(first)
    assert torch.equal(gradients[0], gradients[1])
    for gradient in gradients[2:]:
        torch.testing.assert_close(gradient, gradients[0])


def test_functional_transforms_pass_through() -> None:
    x = torch.rand(3, 8, 10, dtype=torch.float64)

    def total(image: Tensor) -> Tensor:
        return radial_power_spectrum(image).log().sum()

    per_image = torch.func.vmap(torch.func.grad(total))(x)
    leaf = x.clone().requires_grad_()
    total(leaf).backward()
    torch.testing.assert_close(per_image, leaf.grad)


def test_luminance_weighs_the_channels() -> None:
    x = torch.rand(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
    torch.testing.assert_close(luminance(x)[:, 0], torch.einsum('bchw,c->bhw', x, weight))
    assert torch.autograd.gradcheck(luminance, x)
