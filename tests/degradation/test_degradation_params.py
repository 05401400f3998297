"""Parameters: exact round trips through tensors and JSON, and through the default collate function."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from metaf2n_arch.degradation import DegradationConfig, DegradationParams

CONFIGS = {'default': DegradationConfig(), 'ood': DegradationConfig.out_of_distribution(2)}


def assert_same(a: DegradationParams, b: DegradationParams) -> None:
    for key, value in a.to_tensors().items():
        torch.testing.assert_close(value, b.to_tensors()[key], rtol=0, atol=0)
    for one, two in zip(a.stages, b.stages):
        assert (one.factor, one.mode, one.noise, one.quality) == (two.factor, two.mode, two.noise, two.quality)
    assert (a.scale, a.final_mode, a.jpeg_last, a.seed) == (b.scale, b.final_mode, b.jpeg_last, b.seed)


@pytest.mark.parametrize('name', CONFIGS)
def test_tensors_and_json_bring_back_the_same_draw(name):
    rng = np.random.default_rng(0)
    for _ in range(30):
        params = CONFIGS[name].sample(rng)
        assert_same(DegradationParams.from_tensors(params.to_tensors()), params)
        assert_same(DegradationParams.from_dict(json.loads(json.dumps(params.to_dict()))), params)


def test_collated_draws_come_apart_again():
    rng = np.random.default_rng(1)
    some = [DegradationConfig().sample(rng) for _ in range(5)]
    batch = default_collate([params.to_tensors() for params in some])
    assert batch['kernels'].shape == (5, 3, 21, 21)
    for params, again in zip(some, DegradationParams.unbatch(batch)):
        assert_same(again, params)
    with pytest.raises(ValueError, match='unbatch'):
        DegradationParams.from_tensors(batch)


def test_the_same_generator_state_draws_the_same_and_the_next_state_another():
    config = DegradationConfig()
    a, b = (config.sample(np.random.default_rng(7)) for _ in range(2))
    assert_same(a, b)
    rng = np.random.default_rng(7)
    assert config.sample(rng).seed != config.sample(rng).seed


def test_a_size_the_scale_does_not_divide_is_refused_with_the_nearest_that_works():
    with pytest.raises(ValueError, match='divisible by 4; crop them to 64x96'):
        DegradationConfig().sample(np.random.default_rng(0), size=(66, 97))
