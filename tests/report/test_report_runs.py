"""What runs leave behind is read back: logs, options, metrics, pictures."""

from __future__ import annotations

import logging

import pytest
from report_helpers import OPTIONS, make_run

from metaf2n_arch.report.log import read_log
from metaf2n_arch.report.runs import read_options, read_run
from metaf2n_arch.utils.checks import DataError


def test_options_printed_by_the_host_are_read_back(tmp_path):
    from basicsr.utils.options import dict2str

    options = {
        'name': 'x',
        'scale': 4,
        'datasets': {'val_1': {'name': 'a', 'dataroot': 'b c/d'}},
        'path': {'root': None},
    }
    log = tmp_path / 'train_x.log'
    log.write_text(
        f'2026-01-01 00:00:00,000 INFO: \nVersion 1.4.2\n2026-01-01 INFO: {dict2str(options)}\n... INFO: end: 1\n'
    )
    assert read_options(log) == {
        'name': 'x', 'scale': '4', 'datasets': {'val_1': {'name': 'a', 'dataroot': 'b c/d'}}, 'path': {'root': 'None'},
    }  # fmt: skip


def test_the_hosts_own_message_is_read_back(tmp_path, monkeypatch):
    from basicsr.utils.logger import MessageLogger

    lines = []
    monkeypatch.setattr(logging.getLogger('basicsr'), 'info', lines.append)
    opt = {'name': 'x', 'logger': {'print_freq': 1, 'use_tb_logger': False}, 'train': {'total_iter': 2000}}
    logger = MessageLogger(opt, 1, None)
    logger.logger.info = lines.append
    values = {
        'epoch': 3,
        'iter': 1200,
        'lrs': [1e-4],
        'time': 0.1234,
        'data_time': 0.01,
        'l_g_total': 0.5,
        'l_d': -2e-7,
    }
    logger(dict(values))
    (tmp_path / 'log').write_text('\n'.join(lines))
    assert read_log(tmp_path / 'log') == {
        'lr': [(1200, 1e-4)], 'time': [(1200, 0.123)], 'l_g_total': [(1200, 0.5)], 'l_d': [(1200, -2e-7)],
    }  # fmt: skip


def test_a_run_is_found_by_name_and_by_either_folder(tmp_path, monkeypatch):
    make_run(tmp_path, 'mine')
    monkeypatch.chdir(tmp_path)
    for experiment in ('mine', tmp_path / 'experiments' / 'mine', 'results/mine'):
        run = read_run(experiment)
        assert run.name == 'mine'
        assert run.measured['FFHQ_iid'].mean['result']['psnr'] == 24.0
        assert run.series['l_g_total'][-1] == (200, 0.25)
    assert run.options['datasets']['test_1']['type'] == OPTIONS['datasets']['test_1']['type']


def test_pictures_and_sources_of_an_image_are_found_although_names_begin_alike(tmp_path):
    run = read_run(make_run(tmp_path, 'mine'))
    for name in ('img_1', 'img_1_2'):
        assert run.picture('FFHQ_iid', name).name == f'{name}_mine.png'
        assert run.picture('FFHQ_iid', name, 'unadapted').parent.name == 'unadapted'
        assert run.source('FFHQ_iid', name, 'gt') == tmp_path / 'datasets' / 'GT' / f'{name}.png'
        assert run.source('FFHQ_iid', name, 'lq') == tmp_path / 'datasets' / 'LQ' / f'{name}.png'
    assert run.picture('FFHQ_iid', 'img_3') is None


def test_values_that_could_not_be_measured_are_absent(tmp_path):
    measured = read_run(make_run(tmp_path, 'mine')).measured['FFHQ_iid']
    assert 'lpips' not in measured.mean['result']
    assert measured.of_image('img_1') == {'psnr': 23.0}


def test_a_resumed_run_goes_on_from_where_it_resumed(tmp_path):
    folder = make_run(tmp_path, 'mine')
    later = folder / 'train_mine_2.log'
    line = (
        '[mine..][epoch:  0, iter:     {}, lr:(1.000e-04,)] [eta: 0:00:01, time (data): 0.2 (0.0)] l_g_total: {:.4e} \n'
    )
    later.write_text(line.format(200, 0.7) + line.format(300, 0.6))
    points = read_run(folder).series['l_g_total']
    assert points == [(100, 0.5), (200, 0.7), (300, 0.6)]


def test_experiments_that_are_missing_or_empty_are_told(tmp_path, monkeypatch):
    make_run(tmp_path, 'mine')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"no experiment mien .*Did you mean 'mine'"):
        read_run('mien')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(DataError, match='nothing can be reported'):
        read_run(tmp_path / 'empty')
    (tmp_path / 'results' / 'mine' / 'metrics_FFHQ_iid.json').write_text('{')
    with pytest.raises(DataError, match='cannot be read as metrics'):
        read_run('mine')
