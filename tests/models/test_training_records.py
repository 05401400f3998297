"""Training records: what a model says of its training comes back typed, and no other program minds it."""

from __future__ import annotations

import json

import pytest
import torch
from basicsr.models import build_model
from small_model import options

from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.weights.loading import load_generator
from metaf2n_arch.weights.records import RECORD, TrainingRecord, training_record

META = {'inner_lr': 0.05, 'inner_steps': 2, 'mode': 'first', 'adapt_only': ['body.0.*']}


def test_a_meta_trained_checkpoint_says_its_inner_loop(tmp_path):
    face = {'patches': 4, 'patch_size': 32}
    build_model(options(tmp_path, meta=META, face=face)).save(0, 7)
    expected = {
        'model': 'MetaF2NModel',
        'scale': 4,
        'iteration': 7,
        'inner_lr': 0.05,
        'inner_steps': 2,
        'mode': 'first',
        'adapt_only': ('body.0.*',),
        'patches': 4,
        'patch_size': 32,
        'restorer': None,
        'mask_upsample': 'half_pixel',
    }
    for name in ('net_g_7.pth', 'net_m_7.pth'):
        record = training_record(tmp_path / name)
        assert record is not None
        assert {key: getattr(record, key) for key in expected} == expected
        assert record.meta_trained
        content = torch.load(tmp_path / name, weights_only=True)
        assert json.loads(json.dumps(content[RECORD])) == content[RECORD]  # plain values alone
    assert training_record(tmp_path / 'net_d_7.pth') is None


def test_the_generator_brings_its_record(tmp_path):
    build_model(options(tmp_path, meta=META)).save(0, 7)
    assert load_generator(tmp_path / 'net_g_7.pth').record == training_record(tmp_path / 'net_g_7.pth')


def test_learned_rates_are_called_so(tmp_path):
    build_model(options(tmp_path, meta={'inner_lr': 'learned'})).save(0, 1)
    assert training_record(tmp_path / 'net_g_1.pth').inner_lr == 'learned'


@pytest.mark.parametrize(('inner_lr', 'iteration', 'expected'), [(0.01, 5, True), (0.0, 5, False), (0.01, 0, False)])
def test_only_a_training_with_an_inner_loop_is_meta_training(tmp_path, inner_lr, iteration, expected):
    build_model(options(tmp_path, meta={'inner_lr': inner_lr})).save(0, iteration)
    assert training_record(tmp_path / f'net_g_{iteration}.pth').meta_trained is expected


def test_ordinary_training_is_not_meta_training(tmp_path):
    opt = {key: value for key, value in options(tmp_path).items() if key not in ('meta', 'face', 'network_m')}
    opt['train']['losses'] = opt['train']['losses'][:2]
    build_model({**opt, 'model_type': 'GANSRModel'}).save(0, 3)
    record = training_record(tmp_path / 'net_g_3.pth')
    assert (record.model, record.inner_lr, record.meta_trained) == ('GANSRModel', None, False)


def test_published_files_say_nothing(data_dir):
    assert training_record(data_dir / 'weights' / 'realesr-animevideov3.pth') is None
    assert load_generator(data_dir / 'weights' / 'realesr-animevideov3.pth').record is None


def test_spandrel_reads_a_file_with_a_record(tmp_path):
    import spandrel

    model = build_model(options(tmp_path, meta=META))
    model.save(0, 7)
    theirs = spandrel.ModelLoader('cpu').load_from_file(tmp_path / 'net_g_7.pth')
    x = torch.rand(1, 3, 9, 8)
    assert torch.allclose(theirs.model(x), model.net_g(x), atol=1e-6)


def test_the_stock_loader_reads_a_file_with_a_record(tmp_path):
    """What BasicSR's own `load_network` does with a file: take one key, take module. away, load strictly."""
    model = build_model(options(tmp_path, meta=META))
    model.save(0, 7)
    content = torch.load(tmp_path / 'net_g_7.pth', map_location='cpu', weights_only=True)
    model.net_g.load_state_dict({k.removeprefix('module.'): v for k, v in content['params'].items()}, strict=True)


def test_a_safetensors_file_carries_it_in_its_metadata(tmp_path):
    from safetensors.torch import save_file

    record = TrainingRecord(model='MetaF2NModel', inner_lr=0.01, adapt_only=('conv_*',))
    save_file({'w': torch.zeros(2)}, tmp_path / 'g.safetensors', {RECORD: json.dumps(record.plain())})
    assert training_record(tmp_path / 'g.safetensors') == record


def test_keys_of_later_versions_are_passed_over():
    assert TrainingRecord.model_validate({'inner_lr': 0.01, 'wavelets': 3}).inner_lr == 0.01


@pytest.mark.parametrize(
    'record',
    [
        {'inner_lr': 'fast'},
        {'inner_steps': 0},
        ['inner_lr'],
        'no JSON',
        {'scale': torch.zeros(2)},
        {'model': 'x' * 5000},
    ],
)
def test_a_damaged_record_is_one_line(tmp_path, record):
    torch.save({'params': {}, RECORD: record}, tmp_path / 'g.pth')
    with pytest.raises(DataError, match=r'g\.pth: its training record') as caught:
        training_record(tmp_path / 'g.pth')
    assert '\n' not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_the_former_name_of_the_tensors_that_move_is_read_still(tmp_path):
    torch.save({'params': {}, RECORD: {'inner_lr': 0.01, 'adapted': ['body.*']}}, tmp_path / 'g.pth')
    assert training_record(tmp_path / 'g.pth').adapt_only == ('body.*',)
    model = build_model(options(tmp_path, meta={**META, 'adapt_only': None, 'inner_steps': 1}))
    former = build_model(options(tmp_path, meta={'inner_lr': 0.05, 'mode': 'first', 'adapted': ['body.0.*']}))
    assert set(former.adapt_only) < set(model.adapt_only)
