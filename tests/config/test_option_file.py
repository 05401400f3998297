"""Option files are checked as a whole: every shipped one passes, every mistake is one line that names its place."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from metaf2n_arch.config.option_file import build_data_sets, check_option_file
from metaf2n_arch.config.ours_alone import KEYS as OURS_ALONE
from metaf2n_arch.config.stock import StockTrainOptions
from metaf2n_arch.models.model_options import GANTrainOptions
from metaf2n_arch.utils.checks import DataError, OptionError
from metaf2n_arch.utils.resources import option_file

FILE = 'options/demo_metaf2n_ssl.yml'


@pytest.fixture
def demo(tmp_path, monkeypatch) -> dict[str, Any]:
    """The demo's options as the runner hands them over, with a working folder of their own."""
    monkeypatch.chdir(tmp_path)
    opt = yaml.safe_load(option_file('demo_metaf2n_ssl.yml').read_text(encoding='utf-8'))
    for phase, block in opt['datasets'].items():
        block.update(phase=phase, scale=opt['scale'])
    return {**opt, 'is_train': True, 'dist': False, 'num_gpu': 0}


def put(opt: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    opt = deepcopy(opt)
    *parents, last = path.split('.')
    node: Any = opt
    for key in parents:
        node = node[int(key)] if isinstance(node, list) else node[key]
    node[last] = value
    return opt


def test_the_demo_file_passes(demo):
    check_option_file(demo, FILE)


@pytest.mark.parametrize(
    ('path', 'value', 'message'),
    [
        ('model_type', 'MetaF2Model', "model_type is 'MetaF2Model'.*Did you mean 'MetaF2NModel'"),
        ('tarin', {}, "tarin: unknown key.*'train'"),
        ('meta.iner_lr', 0.1, "meta.iner_lr: unknown key.*'inner_lr'"),
        ('meta.mode', 'thrid', "meta.mode is 'thrid'"),
        ('face.patches', 0, 'face.patches is 0'),
        ('face.restorer', {'type': 'gpn'}, 'face.restorer.type'),
        ('train.ema_deacy', 0.9, "train.ema_deacy: unknown key.*'ema_decay'"),
        ('train.losses', [], 'train.losses'),
        ('train.losses', [{'type': 'L1Losss'}], "train.losses.0.type is 'L1Losss'.*'L1Loss'"),
        ('train.losses', [{'type': 'SSLLoss', 'serach_size': 9}], "train.losses.0.serach_size.*'search_size'"),
        ('train.optim_g', {'type': 'Adamm', 'lr': 1e-4}, "train.optim_g.type is 'Adamm'.*'Adam'"),
        ('train.optim_g', {'type': 'Optimizer', 'lr': 1e-4}, "train.optim_g.type is 'Optimizer'"),
        ('train.optim_g', {'lr': 1e-4}, 'train.optim_g.type: missing'),
        ('train.optim_g', {'type': 'Adam', 'lr': 1e-4, 'beta': 1}, "train.optim_g.beta: unknown.*'betas'"),
        ('train.scheduler', {'type': 'Cosine'}, "train.scheduler.type is 'Cosine'"),
        ('train.scheduler.milestone', [3], "train.scheduler.milestone: unknown key.*'milestones'"),
        ('network_g.num_feats', 3, "network_g.num_feats: unknown key.*'num_feat'"),
        ('network_g', {'type': 'RRDBNet'}, 'network_g.num_in_ch: missing'),
        ('val.metrics.psnr', {'type': 'calculate_psnr', 'crop_bord': 4}, "val.metrics.psnr.crop_bord.*'crop_border'"),
        ('val.save_image', True, "val.save_image: unknown key.*'save_img'"),
        ('logger.print_frq', 3, "logger.print_frq: unknown key.*'print_freq'"),
        ('path.pretrained_network_g', 'x', "path.pretrained_network_g: unknown key.*'pretrain_network_"),
        ('datasets.train.type', 'DemoDataset', 'datasets.train.type'),
        ('datasets.train.suport_size', 64, "datasets.train.suport_size: unknown key.*'support_size'"),
        ('datasets.train.degradation', {'stage3': {}}, "datasets.train.degradation.stage3: unknown key.*'stage"),
    ],
)
def test_a_mistake_is_one_line_naming_file_place_and_remedy(demo, path, value, message):
    with pytest.raises(OptionError, match=message) as error:
        check_option_file(put(demo, path, value), FILE)
    assert len(str(error.value).splitlines()) == 1
    assert str(error.value).startswith(FILE)


@pytest.mark.parametrize(
    ('path', 'value'),
    [
        ('train.accumulate', 4),
        ('train.ema', {'decay': 0.9}),
        ('performance', {'autocast': 'fp16'}),
        ('color_fix', {'type': 'wavelet'}),
        ('logger.loss_shares', True),
    ],
)
def test_options_of_our_models_are_refused_beside_a_model_that_would_pass_over_them(demo, path, value):
    stock = {key: demo[key] for key in ('name', 'datasets', 'network_g', 'path', 'logger')}
    stock['model_type'] = 'ESRGANModel'
    stock['train'] = {'total_iter': 1, 'optim_g': {'type': 'Adam', 'lr': 1e-4}, 'pixel_opt': {'type': 'FFTLoss'}}
    check_option_file(stock, FILE)
    with pytest.raises(OptionError, match=rf"{path}: BasicSR's ESRGANModel ignores it; use GANSRModel") as error:
        check_option_file(put(stock, path, value), FILE)
    assert len(str(error.value).splitlines()) == 1


def test_the_options_of_our_models_alone_are_those_that_no_stock_model_has():
    assert set(OURS_ALONE['train']) == set(GANTrainOptions.model_fields) - set(StockTrainOptions.model_fields)


def test_all_mistakes_are_told_at_once(demo):
    wrong = put(put(demo, 'meta.iner_lr', 0.1), 'train.ema_deacy', 0.9)
    with pytest.raises(OptionError) as error:
        check_option_file(wrong, FILE)
    assert len(str(error.value).splitlines()) == 2


def test_a_missing_folder_is_found_before_anything_is_made(demo):
    val = {'name': 'x', 'type': 'FacePairDataset', 'dataroot': 'nowhere', 'phase': 'val', 'scale': 4}
    with pytest.raises(DataError, match=r'datasets\.val.*nowhere'):
        build_data_sets(put(demo, 'datasets.val', val), FILE)
    assert not Path('experiments').exists()


def test_a_batch_that_can_never_be_full_is_refused(demo):
    with pytest.raises(OptionError, match=r'datasets\.train: batch_size_per_gpu is 4, but an epoch has only 3 items'):
        build_data_sets(
            put(put(demo, 'datasets.train.tasks_per_epoch', 3), 'datasets.train.batch_size_per_gpu', 4), FILE
        )


def test_files_of_stock_models_are_left_alone_but_for_parts_of_ours(demo):
    stock = {'model_type': 'SRModel', 'anything': 1, 'datasets': {'train': demo['datasets']['train']}}
    check_option_file(stock, FILE)
    with pytest.raises(OptionError, match='suport_size'):
        check_option_file(put(stock, 'datasets.train.suport_size', 3), FILE)
