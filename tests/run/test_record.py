"""The record of a training: each start adds to it, reports read it, and older runs do without."""

from __future__ import annotations

import json
import math
import subprocess

import numpy as np
import torch

from metaf2n_arch.report.runs import read_run
from metaf2n_arch.run import data_sets, record

OPTIONS = {'name': 'a', 'manual_seed': 7, 'scale': 4, 'world_size': 1, 'datasets': {'val': {'name': 'v', 'n': 2}}}
LINE = '[a..][epoch:  0, iter:       1, lr:(1.000e-04,)] [eta: 0:00:01, time (data): 0.1 (0.0)] l_pix: 1.0000e-01\n'


def test_each_start_adds_to_the_record_and_the_end_is_noted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record.begin(tmp_path, OPTIONS, 0)
    record.note(4)
    record.begin(tmp_path, OPTIONS, 4)
    record.note(9, ended=True)
    first, second = record.read(tmp_path)['starts']
    assert (first['from_iteration'], first['iteration'], first['ended']) == (0, 4, None)
    assert (second['from_iteration'], second['iteration']) == (4, 9)
    assert second['ended'] >= second['started']
    assert second['seed'] == 7
    assert second['options'] == OPTIONS
    assert second['versions']['torch'].partition('+')[0] == torch.__version__.partition('+')[0]
    assert second['versions']['numpy'] == np.__version__
    assert second['git'] is None, 'no repository here'


def test_the_state_of_the_repository_is_that_of_git(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    who = ['-c', 'user.name=a', '-c', 'user.email=a@b.c', '-c', 'commit.gpgsign=false']
    for command in (['init', '-q'], ['add', '.'], [*who, 'commit', '-qm', 'x', '--allow-empty']):
        subprocess.run(['git', *command], check=True)
    head = subprocess.run(['git', 'rev-parse', 'HEAD'], check=True, capture_output=True, text=True).stdout.strip()
    assert record.git_state() == {'commit': head, 'changed': False}
    (tmp_path / 'new.txt').write_text('')
    subprocess.run(['git', 'add', 'new.txt'], check=True)
    assert record.git_state() == {'commit': head, 'changed': True}


def test_a_report_takes_the_options_of_the_record_and_else_of_the_log(tmp_path, monkeypatch):
    folder = tmp_path / 'experiments' / 'a'
    folder.mkdir(parents=True)
    log = '2026 INFO: \n  name: a\n  scale: 2\n  datasets:[\n    val:[\n      name: v\n    ]\n  ]\n\n2026 INFO: x\n'
    (folder / 'train_a_1.log').write_text(log + LINE)
    monkeypatch.chdir(tmp_path)
    assert read_run('a').options['scale'] == '2'
    record.begin(folder, OPTIONS, 0)
    run = read_run('a')
    assert run.options['scale'] == '4'
    assert run.dataset('v') == {'name': 'v', 'n': '2'}
    assert run.series['l_pix'] == [(1, 0.1)]


def values(iteration, loss):
    return {'epoch': 0, 'iter': iteration, 'lrs': [1e-4, 2e-4], 'time': 0.1, 'data_time': 0.0, 'l_pix': loss}


def test_a_report_takes_the_values_of_the_record_to_all_their_digits(tmp_path, monkeypatch):
    """The log has four digits; a run that resumed goes on from the iteration it resumed at."""
    folder = tmp_path / 'experiments' / 'a'
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    (folder / 'train_a_1.log').write_text(LINE)
    record.begin(folder, OPTIONS, 0)
    for iteration in (1, 2, 3):
        record.values(values(iteration, 0.123456789 * iteration))
    record.begin(folder, OPTIONS, 1)
    record.values(values(2, float('nan')))
    with open(folder / record.VALUES, 'a') as file:
        file.write('{"epoch": 0, "iter": 3, "l')  # as a full disk leaves it
    series = read_run('a').series
    assert series['lr'] == [(1, 1e-4), (2, 1e-4)]
    assert series['time'] == [(1, 0.1), (2, 0.1)]
    (first, loss), (second, missing) = series['l_pix']
    assert (first, loss, second) == (1, 0.123456789, 2)
    assert math.isnan(missing)
    assert 'NaN' not in (folder / record.VALUES).read_text(), 'no reader but Python knows it'


def test_a_run_that_began_without_a_record_has_its_first_values_from_the_log(tmp_path, monkeypatch):
    folder = tmp_path / 'experiments' / 'a'
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    (folder / 'train_a_1.log').write_text(LINE + LINE.replace('iter:       1', 'iter:       2'))
    record.begin(folder, OPTIONS, 1)
    record.values(values(2, 0.5))
    assert read_run('a').series['l_pix'] == [(1, 0.1), (2, 0.5)]


def test_a_record_that_is_damaged_is_none(tmp_path):
    (tmp_path / record.FILE).write_text('{"starts": [')
    assert record.read(tmp_path) == {}
    (tmp_path / record.FILE).write_text(json.dumps([1]))
    assert record.read(tmp_path) == {}


def test_a_data_set_that_was_built_as_a_check_is_handed_out_once_for_its_very_options():
    block, made = {'name': 'a'}, object()
    data_sets.keep({'train': block}, {'train': made})
    assert data_sets.take({'name': 'a'}) is None, 'equal options of somebody else'
    assert data_sets.take(block) is made
    assert data_sets.take(block) is None
    data_sets.keep({'train': block}, {'train': made})
    block['name'] = 'changed since'
    assert data_sets.take(block) is None
