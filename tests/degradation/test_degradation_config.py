"""Configuration: defaults of Real-ESRGAN, clear refusals, and frequencies of what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metaf2n_arch.degradation import DegradationConfig, Stage2Config, StageConfig, kernels
from metaf2n_arch.utils.checks import OptionError
from metaf2n_arch.utils.options import parse_block


def draws(config: DegradationConfig, count: int = 2000, seed: int = 0):
    rng = np.random.default_rng(seed)
    return [config.sample(rng) for _ in range(count)]


@pytest.fixture(scope='module')
def default_draws():
    return draws(DegradationConfig())


def is_identity(kernel: torch.Tensor) -> bool:
    return float(kernel[10, 10]) == 1.0


def test_defaults_are_real_esrgans_numbers():
    config = DegradationConfig()
    one, two = config.stage1, config.stage2
    assert one.sigma == (0.2, 3.0)
    assert two.sigma == (0.2, 1.5)
    assert one.kernel_prob == two.kernel_prob
    assert list(one.kernel_prob.values()) == [0.45, 0.25, 0.12, 0.03, 0.12, 0.03]
    assert (one.resize_prob, one.resize_range) == ({'up': 0.2, 'down': 0.7, 'keep': 0.1}, (0.15, 1.5))
    assert (two.resize_prob, two.resize_range) == ({'up': 0.3, 'down': 0.4, 'keep': 0.3}, (0.3, 1.2))
    assert (one.gaussian_sigma, one.poisson_scale) == ((1, 30), (0.05, 3))
    assert (two.gaussian_sigma, two.poisson_scale) == ((1, 25), (0.05, 2.5))
    assert one.jpeg_quality == two.jpeg_quality == (30, 95)
    assert (one.blur_prob, two.blur_prob, one.sinc_prob, config.final_sinc_prob) == (1, 0.8, 0.1, 0.8)
    assert one.kernel_sizes == (7, 9, 11, 13, 15, 17, 19, 21)


def test_frequencies_of_resizing_follow_the_configuration(default_draws):
    for index, wanted in ((0, (0.2, 0.7, 0.1)), (1, (0.3, 0.4, 0.3))):
        factors = np.array([d.stages[index].factor for d in default_draws])
        counted = np.mean(factors > 1), np.mean(factors < 1), np.mean(factors == 1)
        np.testing.assert_allclose(counted, wanted, atol=0.035)
    first = np.array([d.stages[0].factor for d in default_draws])
    assert 0.15 <= first.min() < 0.17
    assert 1.48 < first.max() <= 1.5
    assert first[first < 1].mean() == pytest.approx((0.15 + 1) / 2, abs=0.03)


@pytest.mark.parametrize(('side', 'lowest'), [(7, np.pi / 3), (11, np.pi / 3), (13, np.pi / 5), (21, np.pi / 5)])
def test_small_sinc_kernels_cut_off_no_lower_than_they_can_show(side, lowest, monkeypatch):
    seen = []
    monkeypatch.setattr(kernels, 'sinc', lambda side, cutoff: seen.append(cutoff) or np.ones((side, side)))
    stage = StageConfig(kernel_sizes=(side,), sinc_prob=1)
    draws(DegradationConfig(stage1=stage, stage2=Stage2Config(blur_prob=0), final_sinc_prob=0), 300)
    assert len(seen) == 300
    assert lowest <= min(seen) < lowest + 0.05
    assert np.pi - 0.05 < max(seen) <= np.pi


def test_frequencies_of_choices_follow_the_configuration(default_draws):
    def share(values) -> float:
        return float(np.mean(list(values)))

    assert share(d.stages[0].noise.kind == 'gaussian' for d in default_draws) == pytest.approx(0.5, abs=0.035)
    assert share(d.stages[1].noise.gray for d in default_draws) == pytest.approx(0.4, abs=0.035)
    assert share(d.jpeg_last for d in default_draws) == pytest.approx(0.5, abs=0.035)
    # The first stage always blurs, but a Gaussian of sigma 0.2 is the identity in float32.
    assert share(is_identity(d.stages[0].kernel) for d in default_draws) < 0.02
    assert share(is_identity(d.stages[1].kernel) for d in default_draws) == pytest.approx(0.2, abs=0.04)
    assert share(is_identity(d.sinc) for d in default_draws) == pytest.approx(0.2, abs=0.03)
    assert share(d.stages[0].mode == 'area' for d in default_draws) == pytest.approx(1 / 3, abs=0.035)
    assert share(d.final_mode == 'bicubic' for d in default_draws) == pytest.approx(1 / 3, abs=0.035)


def test_jpeg_qualities_are_all_integers_of_the_range(default_draws):
    qualities = [s.quality for d in default_draws for s in d.stages]
    assert set(qualities) == set(range(30, 96))
    assert np.mean(qualities) == pytest.approx(62.5, abs=1)


def test_training_never_draws_what_belongs_to_the_other_family(default_draws):
    assert all(s.noise.kind in ('gaussian', 'poisson') for d in default_draws for s in d.stages)
    ood = DegradationConfig.out_of_distribution()
    assert not set(ood.stage1.kernel_prob) & set(DegradationConfig().stage1.kernel_prob)
    assert all(d.stages[0].noise.kind in ('speckle', 'none') for d in draws(ood, 100))
    assert all(s.quality <= 50 for d in draws(ood, 100) for s in d.stages)


def test_noise_strength_is_drawn_per_task_or_left_to_each_image():
    per_task = [d.stages[0].noise for d in draws(DegradationConfig(noise_per='task'), 500)]
    assert all(n.strength[0] == n.strength[1] for n in per_task)
    gaussian = [n.strength[0] for n in per_task if n.kind == 'gaussian']
    assert np.mean(gaussian) == pytest.approx(15.5, abs=1.5)
    per_image = [d.stages[0].noise for d in draws(DegradationConfig(noise_per='image'), 50)]
    assert {n.strength for n in per_image} == {(1.0, 30.0), (0.05, 3.0)}


def test_a_narrow_configuration_draws_the_same_every_time():
    config = parse_block(
        DegradationConfig,
        {
            'scale': 4,
            'stage1': {
                'kernel_prob': {'iso': 1},
                'kernel_sizes': [13],
                'sigma': [1.6, 1.6],
                'sinc_prob': 0,
                'resize_prob': {'keep': 1},
                'noise_prob': {'gaussian': 1},
                'gaussian_sigma': [5, 5],
                'gray_prob': 0,
                'jpeg_prob': 0,
            },
            'stage2': {'blur_prob': 0, 'resize_prob': {'keep': 1}, 'noise_prob': {'none': 1}, 'jpeg_prob': 0},
            'final_sinc_prob': 0,
            'final_mode_prob': {'bicubic_antialias': 1},
        },
        'datasets.train.degradation',
    )
    some = draws(config, 20)
    for draw in some:
        torch.testing.assert_close(draw.stages[0].kernel, some[0].stages[0].kernel, rtol=0, atol=0)
        assert draw.stages[0].noise.strength == (5.0, 5.0)
        assert [s.quality for s in draw.stages] == [0, 0]
        assert [s.factor for s in draw.stages] == [1.0, 1.0]
        assert is_identity(draw.stages[1].kernel)
        assert is_identity(draw.sinc)


def test_a_partial_second_stage_keeps_the_second_stages_defaults():
    config = parse_block(DegradationConfig, {'stage2': {'blur_prob': 0.5}}, 'degradation')
    assert config.stage2.resize_range == (0.3, 1.2)


@pytest.mark.parametrize(
    ('block', 'message'),
    [
        ({'stage1': {'kernel_prob': {'iso': 0.5, 'aniso': 0.4}}}, r'degradation\.stage1\.kernel_prob .*sum to 1'),
        ({'stage1': {'kernel_prob': {'iso': 1.5, 'aniso': -0.5}}}, 'sum to 1'),
        ({'stage1': {'resize_prob': {'sideways': 1}}}, 'resize_prob'),
        ({'stage1': {'sigma': [3, 1]}}, r'stage1\.sigma .*low <= high'),
        ({'stage1': {'sigma': [0, 1]}}, 'positive'),
        ({'stage1': {'kernel_sizes': [7, 8]}}, 'odd kernel sides between 1 and 21'),
        ({'stage1': {'kernel_sizes': [23]}}, 'odd kernel sides between 1 and 21'),
        ({'stage2': {'jpeg_quality': [0, 50]}}, 'jpeg_quality'),
        ({'stage1': {'resize_range': [1.2, 1.5]}}, 'starts above 1'),
        ({'stage1': {'resize_range': [0.2, 0.8]}}, 'ends below 1'),
        ({'final_sinc_prob': 1.1}, 'final_sinc_prob'),
        ({'noise_per': 'batch'}, 'noise_per'),
        ({'stage1': {'blur_probability': 1}}, r"unknown key\. Did you mean 'blur_prob'"),
        ({'scale': 0}, 'scale'),
    ],
)
def test_wrong_numbers_are_one_clear_line(block, message):
    with pytest.raises(OptionError, match=message) as error:
        parse_block(DegradationConfig, block, 'degradation')
    assert '\n' not in str(error.value)


def test_every_option_says_what_it_is():
    for schema in (StageConfig, Stage2Config):
        assert all(field.description for field in schema.model_fields.values())
