"""Metrics of pyiqa by name: its own values, directions from its registry, and what happens without weights."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import pyiqa
import pytest
import torch
from basicsr.metrics import calculate_metric
from basicsr.utils.registry import METRIC_REGISTRY

from metaf2n_arch.metrics import pyiqa_metric
from metaf2n_arch.metrics.measure import as_tensor
from metaf2n_arch.models.evaluation import Evaluator, better_of, without_weights
from metaf2n_arch.utils.checks import OptionError


@pytest.fixture(autouse=True)
def nothing_kept():
    pyiqa_metric._created.cache_clear()
    yield
    pyiqa_metric._created.cache_clear()


@pytest.mark.parametrize('name', ['gmsd', 'ssim', 'entropy'])
def test_a_metric_by_name_is_pyiqas_own(pair, name):
    metric = pyiqa.create_metric(name, device=torch.device('cpu'))
    images = pair if metric.metric_mode == 'FR' else pair[:1]
    expected = float(metric(*(as_tensor(image) for image in images)))
    data = dict(zip(('img', 'img2'), pair))
    assert calculate_metric(data, {'type': 'pyiqa', 'name': name, 'device': 'cpu'}) == pytest.approx(expected, rel=1e-6)
    assert math.isfinite(expected)


@pytest.mark.parametrize(
    ('entry', 'better'),
    [
        ({'type': 'pyiqa', 'name': 'topiq_nr'}, 'higher'),
        ({'type': 'pyiqa', 'name': 'lpips'}, 'lower'),
        ({'type': 'calculate_niqe_y'}, 'lower'),
        ({'type': 'calculate_niqe', 'crop_border': 4}, 'lower'),
        ({'type': 'calculate_psnr', 'crop_border': 4}, 'higher'),
        ({'type': 'FID'}, 'lower'),
        ({'type': 'calculate_psnr', 'better': 'lower'}, 'lower'),
    ],
    ids=str,
)
def test_what_is_better_is_known_without_being_told(entry, better):
    assert better_of(entry) == better


def test_those_without_a_reference_need_none_and_the_others_are_missing(pair):
    entries = {name: {'type': 'pyiqa', 'name': name, 'device': 'cpu'} for name in ('entropy', 'gmsd')}
    values = Evaluator(entries).add('x', 'result', pair[0], None)
    assert math.isfinite(values['entropy'])
    assert math.isnan(values['gmsd'])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'name': 'topiqnr'}, "val.metrics.a.name: pyiqa has no metric 'topiqnr'. Did you mean 'topiq_nr'?"),
        ({'name': 'fid'}, "val.metrics.a.name: pyiqa's fid measures folders, not images; use {type: FID}."),
        ({'name': 'musiq', 'better': 'lower'}, "better is 'lower', but higher is better by pyiqa"),
    ],
)
def test_a_wrong_name_or_direction_is_one_line(options, message):
    with pytest.raises(OptionError) as error:
        METRIC_REGISTRY.get('pyiqa').check_options({'type': 'pyiqa', **options}, 'val.metrics.a')
    assert message in str(error.value)


def test_weights_that_are_missing_are_tried_once_and_named(pair, monkeypatch, caplog):
    tried: list[tuple[str, str | None]] = []

    def create(name: str, **_: Any) -> None:
        tried.append((name, os.environ.get('TORCH_FORCE_WEIGHTS_ONLY_LOAD')))
        raise OSError('no route to the host\nand more')

    monkeypatch.setattr(pyiqa, 'create_metric', create)
    entry = {'type': 'pyiqa', 'name': 'topiq_nr', 'device': 'cpu'}
    values = [calculate_metric({'img': np.array(pair[0])}, dict(entry)) for _ in range(3)]
    assert all(math.isnan(value) for value in values)
    assert tried == [('topiq_nr', '1')], 'no weights file may execute anything'
    assert 'TORCH_FORCE_WEIGHTS_ONLY_LOAD' not in os.environ
    names, message = without_weights({'psnr': {'type': 'calculate_psnr_y'}, 'topiq': entry})
    assert names == ['topiq']
    assert message.startswith('the metric topiq: no route to the host (pyiqa itself downloads the weights of topiq_nr')
