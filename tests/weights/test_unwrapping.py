"""Checkpoints of other programs: the generator is found in whatever wraps it; what is not clear is one line."""

from __future__ import annotations

import itertools

import pytest
import torch
from basicsr.archs.srvgg_arch import SRVGGNetCompact

from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.weights.files import load_state_dict
from metaf2n_arch.weights.loading import load_generator

COMPACT = {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 2, 'upscale': 4, 'act_type': 'prelu'}


def compact(seed: int = 0) -> SRVGGNetCompact:
    torch.manual_seed(seed)
    return SRVGGNetCompact(**{k: v for k, v in COMPACT.items() if k != 'type'})


def named(state, prefix: str):
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.fixture(scope='module')
def state():
    return compact().state_dict()


@pytest.fixture(scope='module')
def other():
    return compact(1).state_dict()


def lightning(state, other):
    """What Lightning writes of a GAN: all networks in one state dict, and much beside it."""
    critic = {'net_d.conv0.weight': torch.randn(4, 3, 3, 3), 'loss.vgg.0.weight': torch.randn(4, 3, 3, 3)}
    return {
        'epoch': 3,
        'global_step': 70,
        'pytorch-lightning_version': '2.2.0',
        'state_dict': {**named(state, 'net_g.'), **critic},
        'loops': {'fit_loop': {'state_dict': {}}},
        'callbacks': {},
        'optimizer_states': [{'state': {0: {'exp_avg': torch.zeros(3)}}, 'param_groups': [{'lr': 1e-3}]}],
        'lr_schedulers': [],
        'hparams_name': 'kwargs',
        'hyper_parameters': {'width': 8},
    }


WRAPPED = {
    'state_dict': lambda s, o: {'state_dict': s, 'epoch': 1},
    'model': lambda s, o: {'model': s, 'optimizer': {'state': {0: {'exp_avg': torch.zeros(2)}}, 'param_groups': []}},
    'generator': lambda s, o: {'generator': s, 'discriminator': o},
    'net_g': lambda s, o: {'net_g': s, 'net_d': o, 'iter': 5},
    'average first': lambda s, o: {'g': o, 'g_ema': s, 'd': o, 'g_optim': {}},
    'params_ema first': lambda s, o: {'params': o, 'params_ema': s},
    'params': lambda s, o: {'params': s, 'metaf2n_training': {'inner_lr': 0.01}},
    'an unknown key alone': lambda s, o: {'enhancer': s, 'step': 4},
    'two deep': lambda s, o: {'model': {'state_dict': s}},
    'compiled': lambda s, o: {'params': named(s, '_orig_mod.')},
    'compiled in parallel': lambda s, o: {'model': named(s, 'module._orig_mod.')},
    'a compiled part': lambda s, o: {n.replace('body.', 'body._orig_mod.'): t for n, t in s.items()},
    "torch's average": lambda s, o: {'n_averaged': torch.tensor(3), **named(s, 'module.')},
    'lightning': lightning,
    'lightning, compiled': lambda s, o: {'state_dict': named(s, 'model._orig_mod.')},
    'lightning, two deep': lambda s, o: {'state_dict': {**named(s, 'system.net_g.'), **named(o, 'system.old.')}},
    'lightning, average': lambda s, o: {'state_dict': {**named(o, 'net_g.'), **named(s, 'net_g_ema.')}},
    'the same twice': lambda s, o: {'model': s, 'state_dict': s},
}


@pytest.mark.parametrize('architecture', [None, COMPACT], ids=['recognised', 'named'])
@pytest.mark.parametrize('wrap', WRAPPED)
def test_the_generator_is_found(tmp_path, state, other, wrap, architecture):
    torch.save(WRAPPED[wrap](state, other), tmp_path / 'g.pth')
    found = load_generator(tmp_path / 'g.pth', architecture).net.state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)


def test_every_mixture_of_key_and_prefixes_is_unwrapped(tmp_path, state):
    keys = ('state_dict', 'model', 'generator', 'net_g', 'g_ema', 'params', 'params_ema')
    for key, prefix in itertools.product(keys, ('', 'module.', '_orig_mod.', '_orig_mod.module.', 'module.module.')):
        torch.save({key: named(state, prefix), 'epoch': 2}, tmp_path / 'g.pth')
        assert load_state_dict(tmp_path / 'g.pth').keys() == state.keys(), (key, prefix)


def test_names_that_begin_with_a_number_stay(tmp_path):
    """ESRGAN's first layout calls every tensor model.<number>: nothing wraps it."""
    theirs = {f'model.{number}.weight': torch.zeros(1) for number in (0, 3)}
    torch.save(theirs, tmp_path / 'g.pth')
    assert load_state_dict(tmp_path / 'g.pth').keys() == theirs.keys()


def test_several_networks_are_one_line_and_its_advice_works(tmp_path, state, other):
    torch.save({'state_dict': other, 'model': state}, tmp_path / 'g.pth')
    with pytest.raises(DataError, match=r'holds several networks \(state_dict, model\)\. Say which: --param-key') as e:
        load_generator(tmp_path / 'g.pth')
    assert '\n' not in str(e.value)
    found = load_generator(tmp_path / 'g.pth', param_key='model').net.state_dict()
    assert all(torch.equal(found[name], state[name]) for name in state)


def test_several_networks_in_one_state_dict_are_one_line_and_its_advice_works(tmp_path, state, other):
    torch.save({'state_dict': {**named(state, 'student.'), **named(other, 'teacher.')}}, tmp_path / 'g.pth')
    for architecture in (None, COMPACT):
        with pytest.raises(DataError, match=r'several.*student, teacher.*--param-key student'):
            load_generator(tmp_path / 'g.pth', architecture)
        found = load_generator(tmp_path / 'g.pth', architecture, param_key='teacher').net.state_dict()
        assert all(torch.equal(found[name], other[name]) for name in other)


def test_a_key_that_is_not_there_names_those_that_are(tmp_path, state):
    torch.save({'generator': state, 'discriminator': state}, tmp_path / 'g.pth')
    with pytest.raises(DataError, match=r"has no 'generater'\. Did you mean 'generator'\?"):
        load_generator(tmp_path / 'g.pth', param_key='generater')
    assert load_state_dict(tmp_path / 'g.pth', 'params').keys() == state.keys()  # BasicSR's default is no wish


def test_a_key_may_lead_through_several_mappings(tmp_path, state, other):
    torch.save({'a': {'x': state, 'y': other}}, tmp_path / 'g.pth')
    found = load_state_dict(tmp_path / 'g.pth', 'a.y')
    assert all(torch.equal(found[name], other[name]) for name in other)


def test_the_shared_wrapped_files_are_the_good_one(data_dir):
    good = load_generator(data_dir / 'odd' / 'good.pth').net.state_dict()
    for name in ('wrapped_state_dict.pth', 'compiled_orig_mod.pth'):
        found = load_generator(data_dir / 'odd' / name).net.state_dict()
        assert found.keys() == good.keys(), name
        assert {t.shape for t in found.values()} == {t.shape for t in good.values()}


@pytest.mark.parametrize('bad', [float('nan'), float('inf'), float('-inf')])
@pytest.mark.parametrize('architecture', [None, COMPACT], ids=['recognised', 'named'])
def test_weights_that_are_not_finite_are_one_line(tmp_path, state, bad, architecture):
    broken = {name: tensor.clone() for name, tensor in state.items()}
    broken['body.2.weight'][3, 1, 0, 2] = bad
    torch.save({'params': broken}, tmp_path / 'g.pth')
    with pytest.raises(DataError, match=r'1 of 11 tensors hold NaN or infinity \(body\.2\.weight\)') as e:
        load_generator(tmp_path / 'g.pth', architecture)
    assert '\n' not in str(e.value)


def test_large_finite_weights_are_taken(tmp_path, state):
    large = {name: torch.full_like(tensor, 3e38) for name, tensor in state.items()}
    torch.save(large, tmp_path / 'g.pth')
    assert load_generator(tmp_path / 'g.pth').scale == 4


def test_the_shared_file_of_nan_is_refused(data_dir):
    with pytest.raises(DataError, match=r'nan\.pth: \d+ of \d+ tensors hold NaN or infinity'):
        load_generator(data_dir / 'odd' / 'nan.pth')
