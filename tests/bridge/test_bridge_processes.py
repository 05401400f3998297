"""Several processes on CPUs, started by torchrun, train exactly like one process with their batches put together."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import pytest
import torch

from metaf2n_arch.run import processes


def train_alone(options: list[str], iterations: int, monkeypatch) -> dict[str, torch.Tensor]:
    """The oracle: the host's parts in one process, driven by the plainest loop."""
    from basicsr.data import build_dataloader, build_dataset
    from basicsr.data.data_sampler import EnlargedSampler
    from basicsr.models import build_model
    from basicsr.utils.options import parse_options

    monkeypatch.setattr(sys, 'argv', ['train.py', *options])
    monkeypatch.setattr(sys, 'excepthook', sys.excepthook)
    opt, _ = parse_options('.')
    data = build_dataset(opt['datasets']['train'])
    order = EnlargedSampler(data, 1, 0, 1)
    loader = build_dataloader(data, opt['datasets']['train'], num_gpu=0, sampler=order, seed=opt['manual_seed'])
    model = build_model(opt)
    iteration = 0
    while iteration < iterations:
        for batch in loader:
            iteration += 1
            model.update_learning_rate(iteration)
            model.feed_data(batch)
            model.optimize_parameters(iteration)
        order.set_epoch(order.epoch + 1)
    return model.net_g.state_dict()


def test_two_processes_equal_one_with_twice_the_batch(tmp_path, tiny, write_options, run, monkeypatch):
    tiny['val'] = None
    tiny['train']['optim_g'] = {'type': 'SGD', 'lr': 0.5}
    tiny['logger'].update(save_checkpoint_freq=100, use_tb_logger=False)
    # Two processes of one image make the batch of two; four images, so that an epoch is two iterations.
    tiny['datasets']['train'].update(batch_size_per_gpu=1)
    write_options(tiny)
    torchrun = ('-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2')
    done = run(*torchrun, '-m', 'basicsr.train', '-opt', 'tiny.yml', '--launcher', 'pytorch')
    assert done.returncode == 0, done.stderr
    assert 'DistributedDataParallel - MSRResNet' in done.stderr
    assert done.stderr.count('End of training') == 1, 'one process speaks'
    together = torch.load(tmp_path / 'experiments' / 'tiny' / 'models' / 'net_g_latest.pth')['params']

    monkeypatch.chdir(tmp_path)
    alone = train_alone(['-opt', 'tiny.yml', '--force_yml', 'datasets:train:batch_size_per_gpu=2'], 4, monkeypatch)
    begun = train_alone(['-opt', 'tiny.yml'], 0, monkeypatch)
    moved = max((alone[k] - begun[k]).abs().max().item() for k in alone)
    assert moved > 1e-3, 'training has moved the weights'
    for key in alone:
        # Equal up to the order of sums.
        torch.testing.assert_close(together[key], alone[key], rtol=0, atol=1e-4 * moved)


@pytest.fixture
def group(monkeypatch):
    """Records how the process group would be started."""
    calls = {}
    monkeypatch.setattr(processes.dist, 'init_process_group', lambda **parameters: calls.update(parameters))
    monkeypatch.setattr(processes.mp, 'get_start_method', lambda allow_none: 'spawn')
    monkeypatch.setattr(torch.cuda, 'set_device', lambda device: calls.update(device=device))
    for name in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'):
        monkeypatch.setenv(name, '5')
    return calls


@pytest.mark.parametrize(
    ('gpus', 'asked', 'expected'),
    [
        (0, None, {'backend': 'gloo'}),
        (0, 'nccl', {'backend': 'gloo'}),
        (4, None, {'backend': 'nccl', 'device': 1}),
        (4, 'gloo', {'backend': 'gloo'}),
    ],
)
def test_backend_and_device_follow_the_machine(group, monkeypatch, gpus, asked, expected):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: gpus)
    processes.init_dist('pytorch', backend=asked)
    assert group == expected


def test_slurm_is_described_to_torch(group, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    scontrol = SimpleNamespace(stdout='node7\nnode8\n')
    monkeypatch.setattr(processes.subprocess, 'run', lambda *a, **k: scontrol)
    for name, value in {'PROCID': '3', 'LOCALID': '1', 'NTASKS': '4', 'NODELIST': 'node[7-8]'}.items():
        monkeypatch.setenv(f'SLURM_{name}', value)
    processes.init_dist('slurm', backend='nccl', port=29501)
    assert group == {'backend': 'nccl', 'device': 1}
    found = {name: os.environ[name] for name in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')}
    assert found == dict(RANK='3', LOCAL_RANK='1', WORLD_SIZE='4', MASTER_ADDR='node7', MASTER_PORT='29501')
    with pytest.raises(ValueError, match='Invalid launcher'):
        processes.init_dist('mpi')


def test_the_host_divides_by_zero_without_gpus(group, original, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)
    with pytest.raises(ZeroDivisionError):
        original('basicsr.utils.dist_util.init_dist')('pytorch')
