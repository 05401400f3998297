"""Stock models validate through our loop: sets, missing values and files, against the host's own loop."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_psnr
from basicsr.models import build_model
from basicsr.utils.registry import METRIC_REGISTRY
from photographs import Photographs
from torch.utils.data import DataLoader

from metaf2n_arch.bridge.patching import ORIGINALS

PSNR = {'type': 'calculate_psnr', 'crop_border': 2}


@pytest.fixture
def loader(astronaut_tensor) -> DataLoader:
    return DataLoader(Photographs(astronaut_tensor), batch_size=1)


def stock_model(folder, metrics):
    torch.manual_seed(0)
    return build_model(
        {
            'name': 'run', 'model_type': 'SRModel', 'scale': 4, 'num_gpu': 0, 'dist': False, 'rank': 0, 'world_size': 1,
            'is_train': False,
            'network_g': {'type': 'SRVGGNetCompact', 'num_feat': 4, 'num_conv': 1, 'upscale': 4},
            'path': {'visualization': str(folder / 'visualization'), 'results_root': str(folder)},
            'val': {'save_img': True, 'suffix': None, 'metrics': metrics},
        }
    )  # fmt: skip


def test_values_and_files_are_those_of_the_hosts_loop(tmp_path, loader):
    ours, theirs = tmp_path / 'ours', tmp_path / 'theirs'
    model = stock_model(ours, {'psnr': PSNR})
    model.validation(loader, 'run', None, save_img=True)
    reference = stock_model(theirs, {'psnr': PSNR})
    ORIGINALS['basicsr.models.sr_model.SRModel.nondist_validation'](reference, loader, 'run', None, True)
    assert model.metric_results['psnr'] == pytest.approx(reference.metric_results['psnr'], rel=1e-12)
    names = [sorted(p.relative_to(root) for p in root.rglob('*.png')) for root in (ours, theirs)]
    assert names[0] == names[1]
    for name in names[0]:
        assert np.array_equal(cv2.imread(str(ours / name)), cv2.imread(str(theirs / name)))


def test_a_metric_of_the_whole_set_works_where_the_host_dies_of_it(tmp_path, loader, monkeypatch):
    class MeanPSNR:
        def __init__(self):
            self.values = []

        def update(self, img, img2=None):
            self.values.append(calculate_psnr(img, img2, crop_border=2))

        def compute(self):
            return float(np.mean(self.values))

    monkeypatch.setitem(METRIC_REGISTRY._obj_map, 'MeanPSNR', MeanPSNR)
    metrics = {'psnr': PSNR, 'set': {'type': 'MeanPSNR'}}
    host = ORIGINALS['basicsr.models.sr_model.SRModel.nondist_validation']
    with pytest.raises(TypeError):
        host(stock_model(tmp_path, metrics), loader, 'run', None, False)
    model = stock_model(tmp_path, metrics)
    model.validation(loader, 'run', None, save_img=False)
    assert model.metric_results['set'] == pytest.approx(model.metric_results['psnr'])


def test_a_metric_that_fails_is_missing_and_the_run_goes_on(tmp_path, loader, monkeypatch):
    def fails(img, img2):
        raise np.linalg.LinAlgError('singular')

    monkeypatch.setitem(METRIC_REGISTRY._obj_map, 'fails', fails)
    metrics = {'bad': {'type': 'fails'}, 'psnr': PSNR}
    host = ORIGINALS['basicsr.models.sr_model.SRModel.nondist_validation']
    with pytest.raises(np.linalg.LinAlgError):
        host(stock_model(tmp_path, metrics), loader, 'run', None, False)
    stock_model(tmp_path, metrics).validation(loader, 'run', None, save_img=False)
    stored = json.loads((tmp_path / 'metrics_pairs.json').read_text())
    assert stored['mean']['result']['bad'] is None
    assert stored['mean']['result']['psnr'] > 0
