"""Low- and high-pass filters against their defining properties and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage, special

from metaf2n_arch.functional.bands import ideal_low_pass, radial_mask, sinc_kernel, sinc_low_pass, swap_high_band

CPU = torch.device('cpu')


def wave(periods: int, side: int = 64) -> torch.Tensor:
    x = torch.arange(side, dtype=torch.float64)
    return torch.cos(2 * math.pi * periods * x / side).expand(1, 1, side, side)


def test_kernel_equals_the_bessel_formula_of_scipy() -> None:
    kernel = sinc_kernel(7, 0.4, CPU, torch.float64).numpy()
    omega = 0.4 * math.pi
    expected = np.empty((7, 7))
    for i in range(-3, 4):
        for j in range(-3, 4):
            r = math.hypot(i, j)
            expected[i + 3, j + 3] = omega * special.j1(omega * r) / (2 * math.pi * r) if r else omega**2 / 4 / math.pi
    np.testing.assert_allclose(kernel, expected / expected.sum(), rtol=1e-6)


def test_sinc_low_pass_equals_scipys_mirrored_convolution() -> None:
    x = torch.rand(1, 2, 20, 17, dtype=torch.float64)
    kernel = sinc_kernel(9, 0.5, CPU, torch.float64).numpy()
    expected = np.stack([ndimage.convolve(c, kernel, mode='mirror') for c in x[0].numpy()])
    np.testing.assert_allclose(sinc_low_pass(x, 0.5, 9)[0].numpy(), expected, atol=1e-12)


def test_low_passes_keep_slow_waves_and_stop_fast_ones() -> None:
    for low_pass, leak in ((ideal_low_pass, 1e-12), (lambda x, c: sinc_low_pass(x, c, 21), 0.12)):
        for periods, kept in ((0, 1), (8, 1), (24, 0), (31, 0)):  # the cutoff 0.5 stands at 16 periods
            filtered = low_pass(wave(periods), 0.5)[..., 16:48, 16:48]
            expected = kept * wave(periods)[..., 16:48, 16:48]
            assert (filtered - expected).abs().max().item() <= leak


@pytest.mark.parametrize('size', [(8, 8), (7, 9), (12, 5)])
def test_ideal_low_pass_is_a_projection(size) -> None:
    x = torch.rand(2, 3, *size, dtype=torch.float64)
    low = ideal_low_pass(x, 0.6)
    torch.testing.assert_close(ideal_low_pass(low, 0.6), low)
    torch.testing.assert_close(((x - low) * low).sum(), x.new_zeros(()), atol=1e-10, rtol=0)
    torch.testing.assert_close(ideal_low_pass(x, 1.5), x)  # the whole plane


def test_swapping_keeps_one_low_band_and_the_other_high_band(astronaut_tensor) -> None:
    x, source = astronaut_tensor[..., :64, :48].double(), astronaut_tensor[..., 100:164, 200:248].double()
    mixed = swap_high_band(x, source, 0.5)
    torch.testing.assert_close(ideal_low_pass(mixed, 0.5), ideal_low_pass(x, 0.5))
    torch.testing.assert_close(mixed - ideal_low_pass(mixed, 0.5), source - ideal_low_pass(source, 0.5))
    mask = radial_mask(64, 48, 0.5, CPU, torch.float64)
    by_hand = torch.fft.rfft2(x) * mask + torch.fft.rfft2(source) * (1 - mask)
    torch.testing.assert_close(mixed, torch.fft.irfft2(by_hand, s=(64, 48)))


def test_gradients_match_finite_differences() -> None:
    x = torch.rand(1, 1, 6, 5, dtype=torch.float64, requires_grad=True)
    source = torch.rand(1, 1, 6, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda t: sinc_low_pass(t, 0.5, 5), x)
    assert torch.autograd.gradcheck(lambda t: swap_high_band(t, source, 0.7), x)


def test_images_smaller_than_the_kernel_are_named() -> None:
    with pytest.raises(ValueError, match=r'A kernel of 21x21 needs images of 11x11 or more, got \(10, 64\)'):
        sinc_low_pass(torch.rand(1, 3, 10, 64), 0.5)
