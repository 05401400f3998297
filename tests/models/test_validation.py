"""Validation: values against the host's metrics called by hand, missing values, sets, variants, files written."""

from __future__ import annotations

import json
import math
import resource
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_psnr
from basicsr.models import build_model
from basicsr.utils.registry import METRIC_REGISTRY
from photographs import Photographs
from torch.utils.data import DataLoader

from metaf2n_arch.models.evaluation import Evaluator, MetricTable, to_images, write_json
from metaf2n_arch.models.validation import Validation
from metaf2n_arch.utils.checks import DataError

PSNR = {'type': 'calculate_psnr', 'crop_border': 2, 'better': 'higher'}


class MeanDifference:
    """A set metric simple enough to compute by hand."""

    def __init__(self) -> None:
        self.sums = torch.zeros(2)

    def update(self, img, img2=None):
        self.sums += torch.tensor([float(img.mean()) - float(img2.mean()), 1.0])

    def state(self):
        return {'sums': self.sums}

    def merge(self, states):
        self.sums = torch.stack([state['sums'] for state in states]).sum(0)

    def compute(self):
        return float(self.sums[0] / self.sums[1])


@pytest.fixture
def set_metric(monkeypatch) -> str:
    monkeypatch.setitem(METRIC_REGISTRY._obj_map, 'MeanDifference', MeanDifference)
    return 'MeanDifference'


@pytest.fixture
def images(astronaut) -> list[tuple[np.ndarray, np.ndarray]]:
    """Two references and results that differ from them by known noise."""
    rng = np.random.default_rng(0)
    gts = [np.ascontiguousarray(astronaut[y : y + 48, 180:228, ::-1]) for y in (40, 120)]
    return [(np.clip(gt + rng.normal(0, 9, gt.shape), 0, 255).astype(np.uint8), gt) for gt in gts]


def test_the_mean_leaves_missing_values_out_and_counts_them():
    table = MetricTable()
    for image, value in (('a', 1.0), ('b', math.nan), ('c', 4.0)):
        table.add('result', 'psnr', image, value)
    assert table.mean('result', 'psnr') == 2.5
    assert table.missing('result', 'psnr') == 1
    assert math.isnan(table.mean('result', 'niqe'))


def test_values_are_those_of_the_hosts_metric_and_of_the_set(images, set_metric):
    evaluator = Evaluator({'psnr': PSNR, 'shift': {'type': set_metric, 'better': 'lower'}})
    for number, (result, gt) in enumerate(images):
        evaluator.add(str(number), 'result', result, gt)
    values = evaluator.finish()['result']
    assert values['psnr'] == pytest.approx(np.mean([calculate_psnr(r, g, crop_border=2) for r, g in images]))
    assert values['shift'] == pytest.approx(np.mean([float(r.mean()) - float(g.mean()) for r, g in images]), rel=1e-5)


def test_a_metric_that_fails_or_lacks_its_reference_is_missing_and_never_ends_the_run(images, monkeypatch):
    def fails(img, img2):
        raise np.linalg.LinAlgError('singular')

    monkeypatch.setitem(METRIC_REGISTRY._obj_map, 'fails', fails)
    evaluator = Evaluator({'psnr': PSNR, 'bad': {'type': 'fails'}})
    evaluator.add('a', 'result', images[0][0], None)
    evaluator.add('b', 'result', *images[1])
    values = evaluator.finish()['result']
    assert values['psnr'] == pytest.approx(calculate_psnr(*images[1], crop_border=2))
    assert math.isnan(values['bad'])
    assert evaluator.table.missing('result', 'psnr') == 1


def test_a_json_file_holds_null_for_what_is_missing(tmp_path):
    write_json(tmp_path / 'x.json', {'a': math.nan, 'b': [{'c': 1.5}, math.inf]})
    assert json.loads((tmp_path / 'x.json').read_text()) == {'a': None, 'b': [{'c': 1.5}, None]}
    assert [p.name for p in tmp_path.iterdir()] == ['x.json']


@pytest.mark.parametrize(('better', 'gain'), [('higher', '-0.5000'), ('lower', '+0.5000'), (None, '-0.5000')])
def test_a_gain_is_positive_where_the_metric_got_better(better, gain):
    entry = {**PSNR, 'better': better} if better else {'type': PSNR['type']}
    model = SimpleNamespace(opt={'is_train': False, 'val': {'metrics': {'m': entry}}})
    validation = Validation(model, SimpleNamespace(dataset=SimpleNamespace(opt={'name': 'pairs'})), 4, None, False)
    line = validation._metric_line({'result': {'m': 2.0}, 'unadapted': {'m': 2.5}}, 'm')
    assert line == f'\t # m: 2.0000 (before adaptation 2.5000, gain {gain})'


def test_what_a_full_disk_leaves_no_room_for_is_named_and_not_there(tmp_path, astronaut_tensor):
    """The oracle is the system itself: a limit on the size of files makes the write fail half-way."""
    opt = {'is_train': True, 'path': {'visualization': str(tmp_path)}, 'rank': 0, 'world_size': 1}
    dataset = SimpleNamespace(opt={'name': 'pairs'})
    validation = Validation(SimpleNamespace(opt=opt), SimpleNamespace(dataset=dataset), 4, None, True)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(DataError, match=r'image0_4\.png cannot be written: File too large'):
            validation._save(to_images({'result': astronaut_tensor}), 'image0')
        with pytest.raises(DataError, match=r'x\.json cannot be written: File too large'):
            write_json(tmp_path / 'x.json', list(range(100)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [f for f in tmp_path.rglob('*') if f.is_file()]


def test_a_test_run_writes_images_log_and_metrics(tmp_path, astronaut_tensor):
    opt = {
        'name': 'run', 'model_type': 'GANSRModel', 'scale': 4, 'num_gpu': 0, 'dist': False, 'rank': 0, 'world_size': 1,
        'is_train': False,
        'network_g': {'type': 'SRVGGNetCompact', 'num_feat': 4, 'num_conv': 1, 'upscale': 4},
        'path': {'visualization': str(tmp_path / 'visualization'), 'results_root': str(tmp_path)},
        'val': {'save_img': True, 'metrics': {'psnr': PSNR}},
    }  # fmt: skip
    model = build_model(opt)
    dataset = Photographs(astronaut_tensor)
    model.validation(DataLoader(dataset, batch_size=1), 'run', None, save_img=True)
    stored = json.loads((tmp_path / 'metrics_pairs.json').read_text())
    assert stored['images']['result']['psnr'].keys() == {'image0', 'image1'}
    assert stored['mean']['result']['psnr'] == pytest.approx(np.mean(list(stored['images']['result']['psnr'].values())))
    written = sorted(p.name for p in (tmp_path / 'visualization' / 'pairs').iterdir())
    assert written == ['image0_run.png', 'image1_run.png']
