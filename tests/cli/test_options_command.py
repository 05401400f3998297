"""`metaf2n options`: the schema and what an option means."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from metaf2n_arch.cli.main import app
from metaf2n_arch.config.explain import explain
from metaf2n_arch.utils.checks import OptionError
from metaf2n_arch.utils.resources import option_files


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ['options', *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_schema_is_json(tmp_path):
    assert 'network_' in json.dumps(json.loads(run('schema'))['patternProperties'])
    run('schema', '-o', str(tmp_path / 's.json'))
    assert json.loads((tmp_path / 's.json').read_text(encoding='utf-8'))['$defs']


@pytest.mark.parametrize(
    ('key', 'lines'),
    [
        ('train.ema_decay', ['train.ema_decay: number >= 0 < 1, default 0', 'moving average']),
        ('inner_lr', ['meta.inner_lr: number >= 0 or one of learned, auto, default 0.01', 'α']),
        ('datasets.val.filename_tmpl', ['datasets.train (PairedImageDataset).filename_tmpl: string, default {}']),
        ('SSLLoss', ['train.losses (SSLLoss).']),
        ('RRDBNet', ['network_g (RRDBNet).num_feat: default 64', 'Channel number of intermediate features']),
        ('gt_size', ['DegradationDataset', 'PairedImageDataset']),
        ('train.total_iter', ['must be given']),
    ],
)
def test_an_option_is_explained(key, lines):
    output = run('explain', key)
    assert all(line in output for line in lines), output


def test_an_unknown_option_names_the_nearest():
    with pytest.raises(OptionError, match=r"SSLLos: no such option or part. Did you mean 'SSLLoss'"):
        explain('SSLLos')
    with pytest.raises(OptionError, match=r"ema_deacy: no such option or part. Did you mean 'ema_decay'"):
        explain('ema_deacy')


@pytest.mark.parametrize('name', option_files())
def test_shipped_option_files_are_right_on_any_machine(name):
    assert 'valid, for python -m basicsr.' in run('check', name)


@pytest.mark.parametrize(
    ('forced', 'line'),
    [
        ('train:ema_decay=2', 'train.ema_decay is 2'),
        ('network_g:num_block=4', ''),
    ],
)
def test_a_mistake_is_one_line(forced, line):
    result = CliRunner().invoke(app, ['options', 'check', 'train_esrgan_baseline.yml', '--force_yml', forced])
    assert (result.exit_code == 0) == (not line)
    assert line in str(result.exception or '')


STOCK = """
name: own
model_type: SRModel
scale: 4
num_gpu: 0
datasets:
  train: {name: set, type: PairedImageDataset, dataroot_gt: hr, dataroot_lq: lr, io_backend: {type: disk},
          gt_size: 64, use_hflip: true, use_rot: true, batch_size_per_gpu: 1, num_worker_per_gpu: 0}
network_g: {type: MSRResNet, num_in_ch: 3, num_out_ch: 3, num_feat: 8, num_block: 1, upscale: 4}
path: {}
train:
  total_iter: 1
  optim_g: {type: Adam, lr: 1e-4}
  scheduler: {type: MultiStepLR, milestones: [1]}
  pixel_opt: {type: SSLLoss, loss_weight: 1}
  perceptual_opt: {type: L1Loss, loss_weight: 1}
logger: {print_freq: 1, save_checkpoint_freq: 1, use_tb_logger: false}
"""


@pytest.mark.parametrize(
    ('old', 'new', 'line'),
    [
        ('', '', ''),
        ('use_hflip', 'use_hfilp', "datasets.train.use_hfilp: unknown key. Did you mean 'use_hflip'?"),
        ('gt_size: 64, ', '', 'datasets.train: gt_size must be given for PairedImageDataset in the phase train.'),
        ('{type: disk}', '{type: disc}', "datasets.train.io_backend.type is 'disc'"),
        ('gt_size: 64', 'gt_size: many', "datasets.train.gt_size is 'many'"),
        ('{type: L1Loss, loss_weight', '{type: L1Loss, loss_wieght', 'train.perceptual_opt.loss_wieght: unknown key'),
        ('  pixel_opt', '  pixle_opt', "train.pixle_opt: unknown key. Did you mean 'pixel_opt'?"),
        ('num_block', 'num_blok', "network_g.num_blok: unknown key of MSRResNet. Did you mean 'num_block'?"),
    ],
)
def test_stock_blocks_beside_a_part_of_ours_are_checked_too(tmp_path, old, new, line):
    file = tmp_path / 'own.yml'
    file.write_text(STOCK.replace(old, new, 1) if old else STOCK, encoding='utf-8')
    result = CliRunner().invoke(app, ['options', 'check', str(file)])
    assert line in str(result.exception or ''), result.exception
    assert (result.exit_code == 0) == (not line)


def test_a_file_without_a_part_of_ours_is_not_our_business(tmp_path):
    file = tmp_path / 'own.yml'
    file.write_text(STOCK.replace('SSLLoss', 'MSELoss').replace('use_rot', 'use_rto'), encoding='utf-8')
    assert 'valid' in run('check', str(file))
