"""Kernels against BasicSR's own functions, closed forms, and counts of what is drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest

from metaf2n_arch.degradation import DegradationConfig, StageConfig, kernels
from metaf2n_arch.degradation.sampling import _draw_beta, draw_kernel

SIDES = [7, 13, 21]


@pytest.mark.parametrize('side', SIDES)
@pytest.mark.parametrize(('sigma_x', 'sigma_y', 'theta'), [(0.2, 3.0, 0.3), (1.5, 1.5, 0.0), (2.7, 0.6, -2.2)])
def test_gaussian_family_equals_basicsr(side, sigma_x, sigma_y, theta):
    from basicsr.data import degradations as host

    aniso = {'theta': theta, 'isotropic': False}
    ours = kernels.gaussian(side, sigma_x, sigma_y, theta)
    np.testing.assert_allclose(ours, host.bivariate_Gaussian(side, sigma_x, sigma_y, **aniso), atol=1e-12)
    np.testing.assert_allclose(
        kernels.gaussian(side, sigma_x), host.bivariate_Gaussian(side, sigma_x, sigma_x, 0, isotropic=True), atol=1e-12
    )
    for beta in (0.5, 1.0, 3.7):
        np.testing.assert_allclose(
            kernels.generalized_gaussian(side, beta, sigma_x, sigma_y, theta),
            host.bivariate_generalized_Gaussian(side, sigma_x, sigma_y, beta=beta, **aniso),
            atol=1e-12,
        )
        np.testing.assert_allclose(
            kernels.plateau(side, beta, sigma_x, sigma_y, theta),
            host.bivariate_plateau(side, sigma_x, sigma_y, beta=beta, **aniso),
            atol=1e-12,
        )


@pytest.mark.parametrize('side', SIDES)
@pytest.mark.parametrize('cutoff', [math.pi / 5, 1.0, 2.5, math.pi])
def test_sinc_equals_basicsr(side, cutoff):
    from basicsr.data.degradations import circular_lowpass_kernel

    np.testing.assert_allclose(kernels.sinc(side, cutoff), circular_lowpass_kernel(cutoff, side), atol=2e-7)


def test_wide_gaussian_has_the_variance_and_direction_it_is_asked_for():
    kernel = kernels.gaussian(41, 4.0, 1.5, math.pi / 6)
    axis = np.arange(41) - 20
    x, y = np.meshgrid(axis, axis)
    covariance = np.array(
        [[(kernel * x * x).sum(), (kernel * x * y).sum()], [(kernel * x * y).sum(), (kernel * y * y).sum()]]
    )
    values, vectors = np.linalg.eigh(covariance)
    np.testing.assert_allclose(np.sqrt(values), [1.5, 4.0], rtol=1e-3)
    assert abs(vectors[:, 1] @ [math.cos(math.pi / 6), math.sin(math.pi / 6)]) == pytest.approx(1, abs=1e-4)


def test_motion_kernel_has_the_moments_of_a_uniform_segment():
    length, theta = 12.0, 0.7
    kernel = kernels.motion(21, length, theta)
    axis = np.arange(21) - 10
    x, y = np.meshgrid(axis, axis)
    assert (kernel * x).sum() == pytest.approx(0, abs=1e-9)
    along = math.cos(theta) * x + math.sin(theta) * y
    across = -math.sin(theta) * x + math.cos(theta) * y
    # A segment has variance length²/12; bilinear sharing adds less than 1/4 of a pixel².
    assert (kernel * along**2).sum() == pytest.approx(length**2 / 12, abs=0.3)
    assert (kernel * across**2).sum() < 0.26


def test_defocus_kernel_is_flat_inside_and_covers_the_disk_area():
    kernel = kernels.defocus(21, 4.0)
    assert kernel[10, 10] == kernel[12, 11] == kernel.max()
    assert 1 / kernel.max() == pytest.approx(math.pi * 4.0**2, rel=0.02)


@pytest.mark.parametrize('side', [4, 0, -3])
def test_even_sides_are_refused(side):
    with pytest.raises(ValueError, match='expected an odd positive'):
        kernels.gaussian(side, 1.0)


@pytest.mark.parametrize('family', ['iso', 'aniso', 'generalized_aniso', 'plateau_iso', 'motion', 'defocus'])
def test_every_family_draws_normalised_kernels(family):
    config = StageConfig(kernel_prob={family: 1.0}, sinc_prob=0)
    rng = np.random.default_rng(1)
    for _ in range(20):
        assert draw_kernel(config, rng).sum() == pytest.approx(1, abs=1e-12)


def test_isotropic_draws_are_isotropic_and_span_the_sigma_range():
    config = StageConfig(kernel_prob={'iso': 1.0}, sinc_prob=0, kernel_sizes=(21,))
    rng = np.random.default_rng(2)
    sigmas = []
    for _ in range(400):
        kernel = draw_kernel(config, rng)
        np.testing.assert_allclose(kernel, kernel.T, atol=1e-15)
        ratio = kernel[10, 11] / kernel[10, 10]
        sigmas.append(math.sqrt(-0.5 / math.log(ratio)))
    assert 0.2 <= min(sigmas) < 0.3
    assert 2.9 < max(sigmas) <= 3.0
    assert np.mean(sigmas) == pytest.approx(1.6, abs=0.15)


def test_exponents_lie_below_and_above_one_equally_often():
    rng = np.random.default_rng(3)
    betas = np.array([_draw_beta((0.5, 4.0), rng) for _ in range(4000)])
    assert np.mean(betas < 1) == pytest.approx(0.5, abs=0.03)
    assert betas.min() >= 0.5
    assert betas.max() <= 4


def test_sinc_kernels_come_as_often_as_configured():
    """Only a sinc kernel has negative taps among the default families."""
    config = DegradationConfig()
    rng = np.random.default_rng(4)
    draws = [draw_kernel(config.stage1, rng).min() < 0 for _ in range(4000)]
    assert np.mean(draws) == pytest.approx(0.1, abs=0.02)
