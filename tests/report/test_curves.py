"""Validations over iterations: written by the runner's own loop, grouped by seed, the best found by its direction."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from report_helpers import make_run

from metaf2n_arch.models.validation import with_history
from metaf2n_arch.report.build import build_report
from metaf2n_arch.report.curves import by_seed, validation_curves
from metaf2n_arch.report.document import Grid
from metaf2n_arch.report.runs import Run, read_run

PSNR = {'a_1': [20.0, 22.0, 21.5], 'a_2': [20.5, 21.0, 22.5], 'b': [23.0, 19.0, 18.0]}


def run_of(name: str, values: list[float], metric: str = 'psnr', **train: Any) -> Run:
    entry = {'type': 'calculate_psnr'} if metric == 'psnr' else {'type': 'calculate_niqe_y'}
    run = Run(name, Path())
    run.options = {'name': name, 'manual_seed': name[-1], 'train': train, 'val': {'metrics': {metric: entry}}}
    run.history = {'set': [(100 * (i + 1), {'result': {metric: value}}) for i, value in enumerate(values)]}
    return run


def grid(blocks: list[Any]) -> list[list[str]]:
    return next(block for block in blocks if isinstance(block, Grid)).rows


def test_runs_that_differ_by_their_seed_are_one_curve_with_its_spread(tmp_path):
    runs = [run_of(name, values, lr='1' if name == 'b' else '2') for name, values in PSNR.items()]
    assert [[run.name for run in group] for group in by_seed(runs)] == [['a_1', 'a_2'], ['b']]
    means = [statistics.fmean(pair) for pair in zip(PSNR['a_1'], PSNR['a_2'])]
    spread = statistics.stdev([21.5, 22.5])
    assert max(means) == means[2]
    assert grid(validation_curves(runs, tmp_path)) == [
        ['psnr', 'a (2 seeds)', f'{means[2]:.4f} ± {spread:.4f}', '300'],
        ['psnr', 'b', '23.0000', '100'],
    ]
    assert (tmp_path / 'set_validations.png').stat().st_size > 1000


def test_the_best_of_a_metric_of_which_less_is_better_is_the_lowest(tmp_path):
    assert grid(validation_curves([run_of('a', [5.0, 4.0, 6.0], 'niqe')], tmp_path)) == [['niqe', 'a', '4.0000', '200']]


def test_the_history_goes_on_and_what_is_done_again_counts_anew(tmp_path):
    file = tmp_path / 'metrics_x.json'
    for iteration in (100, 200, 300, 200):  # resumed at 100
        mean = {'result': {'psnr': float(iteration)}}
        file.write_text(json.dumps({'history': with_history(file, iteration, mean)}))
    assert [entry['iteration'] for entry in json.loads(file.read_text())['history']] == [100, 200]


def test_a_report_shows_validations_and_how_long_tested_weights_were_trained(tmp_path):
    experiment = make_run(tmp_path, 'mine')
    content = json.loads((tmp_path / 'results' / 'mine' / 'metrics_FFHQ_iid.json').read_text())
    content.update(iteration=200, history=[{'iteration': i, 'mean': content['mean']} for i in (100, 200)])
    (experiment / 'metrics_FFHQ_iid.json').write_text(json.dumps(content))
    text = build_report([experiment], tmp_path / 'out', panels=0)[0].read_text(encoding='utf-8')
    assert 'FFHQ_iid_validations.png' in text
    assert '| psnr | mine | 24.0000 | 100 |' in text
    assert 'iteration mine' not in text


@pytest.mark.parametrize(
    ('weights', 'words'),
    [
        ('models/net_g_5000.pth', 'iteration 5,000'),
        ('net_g_latest.pth', 'iteration 1,234'),
        ('other.pth', 'weights other.pth'),
    ],
)
def test_the_iteration_of_a_test_is_that_of_its_weights(tmp_path, weights, words):
    from metaf2n_arch.weights.records import RECORD, TrainingRecord

    record = TrainingRecord(model='GANSRModel', scale=4, iteration=1234, color_fix=None, program='x')
    torch.save({'params': {}, RECORD: record.plain()}, tmp_path / 'net_g_latest.pth')
    make_run(tmp_path, 'mine')
    run = read_run(tmp_path / 'experiments' / 'mine')
    run.options['path'] = {'pretrain_network_g': weights}
    assert run.trained_for('FFHQ_iid') == words


def test_confidence_maps_of_the_same_weights_and_faces_are_the_same(tmp_path):
    from metaf2n_arch.report.confidence import confidence_key

    for name, content in (('one.pth', b'1'), ('copy.pth', b'1'), ('two.pth', b'2')):
        (tmp_path / name).write_bytes(content)
    keys = []
    for weights, faces in (
        ('one.pth', 'a'),
        ('copy.pth', './a'),
        ('two.pth', 'a'),
        ('one.pth', 'b'),
        ('none.pth', 'a'),
    ):
        run = Run('x', tmp_path)
        run.options = {'path': {'pretrain_network_m': weights}, 'datasets': {'val': {'name': 's', 'dataroot': faces}}}
        keys.append(confidence_key(run, 's'))
    assert keys[0] == keys[1] is not None
    assert len(set(keys)) == 4
    assert keys[4] is None
