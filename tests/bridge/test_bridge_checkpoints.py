"""Saving and loading inside the host's models: its own format, whole files only, errors that name the file."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from metaf2n_arch.bridge.host import train
from metaf2n_arch.run import checkpoints, saving
from metaf2n_arch.utils.checks import DataError, OptionError


@pytest.fixture
def model(tmp_path):
    from basicsr.models.base_model import BaseModel

    for folder in ('models', 'training_states'):
        (tmp_path / folder).mkdir()
    path = {folder: str(tmp_path / folder) for folder in ('models', 'training_states')}
    model = BaseModel({'num_gpu': 0, 'is_train': True, 'dist': False, 'rank': 0, 'path': path})
    torch.manual_seed(0)
    # Batch normalisation: its counters and versions are what a state dict carries besides tensors of floats.
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    net(torch.rand(1, 3, 8, 8)).sum().backward()
    optimizer.step()
    model.optimizers = [optimizer]
    model.schedulers = [torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4])]
    return SimpleNamespace(base=model, net=net, folder=tmp_path)


def test_files_are_those_the_host_writes(model, original):
    """Oracle: the host's own functions, on the same networks; compared after unpickling."""
    ema = copy.deepcopy(model.net)
    arguments = ([model.net, ema], 'net_g', 7, ['params', 'params_ema'])
    contents = []
    for save_network, save_state in (
        (checkpoints.save_network, checkpoints.save_training_state),
        (
            original('basicsr.models.base_model.BaseModel.save_network'),
            original('basicsr.models.base_model.BaseModel.save_training_state'),
        ),
    ):
        save_network(model.base, *arguments)
        save_state(model.base, 1, 7)
        files = [model.folder / 'models' / 'net_g_7.pth', model.folder / 'training_states' / '7.state']
        contents.append([torch.load(file, weights_only=False) for file in files])
        for file in files:
            file.unlink()
    (ours, our_state), (theirs, their_state) = contents
    assert list(ours) == list(theirs) == ['params', 'params_ema']
    for key in ours:
        assert list(ours[key]) == list(theirs[key])
        assert ours[key]._metadata == theirs[key]._metadata
        assert all(torch.equal(ours[key][k], theirs[key][k]) for k in ours[key])
    assert our_state.keys() >= their_state.keys(), 'the same and more'
    assert our_state['schedulers'] == their_state['schedulers']
    assert str(our_state['optimizers']) == str(their_state['optimizers'])


def test_a_failing_write_ends_training_and_keeps_the_last_good_checkpoint(model, monkeypatch, original):
    model.base.save_network(model.net, 'net_g', -1)
    latest = model.folder / 'models' / 'net_g_latest.pth'
    good = latest.read_bytes()

    def dies(content, file, **kwargs):
        if hasattr(file, 'write'):
            file.write(b'half')
        else:
            Path(file).write_bytes(b'half')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(torch, 'save', dies)
    monkeypatch.setattr(saving, 'PAUSE', 0)
    with pytest.raises(DataError, match=r'net_g_latest\.pth: could not be written \(No space left on device\)'):
        model.base.save_network(model.net, 'net_g', -1)
    with pytest.raises(DataError, match=r'8\.state: could not be written'):
        model.base.save_training_state(0, 8)
    assert latest.read_bytes() == good
    assert [f.name for f in model.folder.rglob('*') if f.is_file()] == ['net_g_latest.pth']

    # The host alone: training goes on, and what is left cannot be loaded.
    original('basicsr.models.base_model.BaseModel.save_network')(model.base, model.net, 'net_g', -1)
    assert latest.read_bytes() == b'half'


def test_a_passing_failure_of_the_drive_is_tried_again(model, monkeypatch):
    save, failures = torch.save, [OSError(5, 'Input/output error')]

    def fails_once(content, file):
        if failures:
            raise failures.pop()
        save(content, file)

    monkeypatch.setattr(torch, 'save', fails_once)
    monkeypatch.setattr(saving, 'PAUSE', 0)
    model.base.save_network(model.net, 'net_g', 3)
    assert torch.load(model.folder / 'models' / 'net_g_3.pth').keys() == {'params'}


def test_networks_load_from_every_kind_of_file(model, original):
    state = model.net.state_dict()
    torch.save(state, model.folder / 'bare.pth')
    torch.save({'params': state}, model.folder / 'params.pth')
    save_file(state, model.folder / 'net.safetensors')
    for name in ('bare.pth', 'params.pth', 'net.safetensors'):
        net = copy.deepcopy(model.net)
        nn.init.zeros_(net[0].weight)
        model.base.load_network(net, str(model.folder / name), True, 'params_ema')
        assert torch.equal(net[0].weight, model.net[0].weight), name
    with pytest.raises(KeyError):
        original('basicsr.models.base_model.BaseModel.load_network')(
            model.base, model.net, str(model.folder / 'bare.pth')
        )


def test_a_checkpoint_of_another_network_is_one_line(model, caplog):
    torch.save({'params': nn.Conv2d(3, 4, 3).state_dict()}, model.folder / 'other.pth')
    with pytest.raises(DataError, match=r'other\.pth: these are not the weights of the Sequential') as caught:
        model.base.load_network(model.net, str(model.folder / 'other.pth'))
    assert '\n' not in str(caught.value)
    before = model.net[0].weight.clone()
    model.base.load_network(model.net, str(model.folder / 'other.pth'), strict=False)
    assert torch.equal(model.net[0].weight, before), 'not strict: what does not fit is left out, as the host does'


def test_a_real_generator_loads_into_the_hosts_network(model, data_dir):
    from basicsr.archs.srvgg_arch import SRVGGNetCompact

    net = SRVGGNetCompact(num_feat=64, num_conv=16, upscale=4, act_type='prelu')
    path = data_dir / 'weights' / 'realesr-animevideov3.pth'
    model.base.load_network(net, str(path), True, 'params_ema')
    expected = torch.load(path, map_location='cpu', weights_only=True)['params']
    assert all(torch.equal(value, expected[key]) for key, value in net.state_dict().items())


def resume_options(folder, **more):
    path = {key: str(folder / key) for key in ('models', 'training_states')}
    return {
        'root_path': str(folder),
        'auto_resume': True,
        'network_g': {},
        'path': {**path, 'resume_state': None},
        **more,
    }


def test_resuming_takes_the_newest_checkpoint_that_is_whole(model, capsys):
    for iteration in (2, 10, 8):
        model.base.save_network(model.net, 'net_g', iteration)
        model.base.save_training_state(0, iteration)
    opt = resume_options(model.folder)
    assert train.load_resume_state(opt)['iter'] == 10
    assert opt['path']['pretrain_network_g'].endswith('net_g_10.pth')

    network = model.folder / 'models' / 'net_g_10.pth'
    network.write_bytes(network.read_bytes()[:200])
    state = train.load_resume_state(opt := resume_options(model.folder))
    assert state['iter'] == 8
    assert opt['path']['resume_state'].endswith('8.state')
    assert 'net_g_10.pth: cannot be read as a checkpoint' in capsys.readouterr().out
    model.base.resume_training(state)
    assert model.base.optimizers[0].state_dict()['state'][0]['step'] == 1

    for file in (model.folder / 'training_states').iterdir():
        file.write_bytes(b'')
    with pytest.raises(DataError, match='none of its 3 training states can be used'):
        train.load_resume_state(resume_options(model.folder))
    for file in (model.folder / 'training_states').iterdir():
        file.unlink()
    assert train.load_resume_state(resume_options(model.folder)) is None


def test_resuming_keeps_the_weights_of_a_network_that_is_never_saved(model):
    model.base.save_network(model.net, 'net_g', 4)
    model.base.save_training_state(0, 4)
    opt = resume_options(model.folder, network_r={})
    opt['path'].update(pretrain_network_r='restorer.pth', param_key_r='params_ema', param_key_g='params_ema')
    assert train.load_resume_state(opt)['iter'] == 4
    assert opt['path']['pretrain_network_r'] == 'restorer.pth'
    assert opt['path']['param_key_r'] == 'params_ema'
    assert opt['path']['param_key_g'] == 'params', 'the host resumes from the trained weights, not their average'


def test_a_state_without_its_network_or_that_is_none_is_named(model):
    model.base.save_training_state(0, 4)
    state = str(model.folder / 'training_states' / '4.state')
    opt = {**resume_options(model.folder), 'auto_resume': False}
    opt['path']['resume_state'] = state
    with pytest.raises(DataError, match=r'net_g_4\.pth: no such file; resuming at iteration 4 needs it'):
        train.load_resume_state(opt)
    model.base.save_network(model.net, 'net_g', 4)
    opt['path']['resume_state'] = str(model.folder / 'models' / 'net_g_4.pth')
    with pytest.raises(DataError, match=r'net_g_4\.pth: is not a training state'):
        train.load_resume_state(opt)


def test_any_optimizer_of_torch_can_be_named(model, original):
    params = [nn.Parameter(torch.zeros(1))]
    optimizer = model.base.get_optimizer('SGD', params, lr=0.5, momentum=0.9)
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.defaults['lr'] == 0.5
    with pytest.raises(OptionError, match=r"'AdamX', expected an optimizer of torch\.optim.* Did you mean 'Adam"):
        model.base.get_optimizer('AdamX', params, lr=0.5)
    with pytest.raises(NotImplementedError):
        original('basicsr.models.base_model.BaseModel.get_optimizer')(model.base, 'SGD', params, lr=0.5)


def test_the_last_validation_belongs_to_the_last_iteration(model, monkeypatch):
    seen = []
    model.base.opt['train'] = {'total_iter': 6}
    monkeypatch.setattr(model.base, 'nondist_validation', lambda *a: seen.append(a[1]), raising=False)
    for iteration in (4, 6, 8):
        model.base.validation(None, iteration, None)
    assert seen == [4, 6, 6]


def test_an_unknown_name_names_the_nearest_known_one(original, capsys):
    from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY

    with pytest.raises(OptionError, match=r"No object named 'L1Los' found in 'loss' registry! Did you mean 'L1Loss'\?"):
        LOSS_REGISTRY.get('L1Los')
    with pytest.raises(KeyError):
        LOSS_REGISTRY.get('L1Los')
    assert capsys.readouterr().out == ''
    assert ARCH_REGISTRY.get('SRVGGNetCompact').__name__ == 'SRVGGNetCompact'
    assert 'SRVGGNetCompact' in ARCH_REGISTRY
    with pytest.raises(KeyError):
        original('basicsr.utils.registry.Registry.get')(LOSS_REGISTRY, 'L1Los')
    assert 'use name: L1Los_basicsr' in capsys.readouterr().out
