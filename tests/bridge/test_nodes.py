"""Two "nodes": processes with folders of their own, as without a shared disk."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from small_training import Training, assert_bitwise_equal, options


def halved(opt: dict[str, Any], iterations: int) -> dict[str, Any]:
    """Six tasks an epoch, one for each of two processes per iteration."""
    opt['datasets']['train'].update(batch_size_per_gpu=1, tasks_per_epoch=6)
    opt['train']['total_iter'] = iterations
    opt['val']['val_freq'] = 100
    return opt


def on_two_nodes(folders: list[Path], opt: dict[str, Any], *arguments: str) -> list[Training]:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    group = {'WORLD_SIZE': '2', 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': port}
    command = ('--launcher', 'pytorch', *arguments)
    return [
        Training(folder, opt, *command, RANK=str(rank), LOCAL_RANK='0', **group) for rank, folder in enumerate(folders)
    ]


def finish(nodes: list[Training]) -> list[Training]:
    return [node.finish() for node in nodes]


@pytest.mark.slow
def test_the_first_nodes_checkpoint_counts_and_reaches_the_others(tmp_path, photos):
    """The second node holds an older one and a file of another training under the same name: it is sent the first's."""
    apart = [tmp_path / 'one', tmp_path / 'two']
    whole = finish(on_two_nodes([tmp_path / 'a', tmp_path / 'b'], halved(options(photos), 6)))
    finish(on_two_nodes(apart, halved(options(photos), 4)))
    stale = apart[1] / 'experiments' / 'small'
    for folder in ('models', 'training_states'):
        (stale / folder).mkdir(parents=True, exist_ok=True)
    shutil.copy(apart[0] / 'experiments' / 'small' / 'training_states' / '2.state', stale / 'training_states')
    torch.save({'params': {}}, stale / 'models' / 'net_g_4.pth')
    resumed = finish(on_two_nodes(apart, halved(options(photos), 6), '--auto_resume'))
    assert 'files of the checkpoint are missing or different on other nodes' in resumed[0].said
    assert 'iter: 4.' in resumed[0].said
    assert_bitwise_equal(resumed[0].networks(), whole[0].networks())


@pytest.mark.slow
def test_what_the_first_node_cannot_resume_ends_all_in_one_line(tmp_path, photos):
    apart = [tmp_path / 'one', tmp_path / 'two']
    finish(on_two_nodes(apart, halved(options(photos), 2)))
    (apart[0] / 'experiments' / 'small' / 'training_states' / '2.state').write_bytes(b'damaged')
    for node in on_two_nodes(apart, halved(options(photos), 4), '--auto_resume'):
        assert node.wait() != 0
        assert 'none of its 1 training states can be used' in node.said


@pytest.mark.slow
def test_another_number_of_processes_goes_on_exactly_or_is_refused(tmp_path, photos):
    opt = options(photos)
    opt['train']['optim_d'] = {'type': 'SGD', 'lr': 0.1}  # Adam divides what is nearly 0 by what is nearly 0
    finish(on_two_nodes([tmp_path / 'one', tmp_path / 'two'], halved(opt, 2)))
    alone = halved(opt, 4)
    refused = Training(tmp_path / 'one', alone, '--auto_resume')
    assert refused.wait() != 0
    assert '2 processes of 1 items each, and 1 processes of 1 take 1 items per iteration instead of 2' in refused.said
    assert 'set batch_size_per_gpu: 2' in refused.said
    alone['datasets']['train']['batch_size_per_gpu'] = 2
    resumed = Training(tmp_path / 'one', alone, '--auto_resume').finish()
    whole = Training(tmp_path / 'whole', alone).finish()
    for key, expected in whole.networks().items():
        torch.testing.assert_close(resumed.networks()[key], expected, rtol=0, atol=1e-6, msg=str(key))


@pytest.mark.slow
def test_the_order_is_the_same_for_any_number_of_processes_where_asked(tmp_path, photos):
    """Seven tasks do not divide by two; the second epoch begins at the same iteration, with the same tasks."""
    opt = halved(options(photos), 6)
    opt['datasets']['train'].update(tasks_per_epoch=7, same_order=True)
    opt['train']['optim_d'] = {'type': 'SGD', 'lr': 0.1}  # Adam divides what is nearly 0 by what is nearly 0
    both = finish(on_two_nodes([tmp_path / 'one', tmp_path / 'two'], opt))
    opt['datasets']['train']['batch_size_per_gpu'] = 2
    alone = Training(tmp_path / 'alone', opt).finish()
    for key, expected in alone.networks().items():
        torch.testing.assert_close(both[0].networks()[key], expected, rtol=0, atol=1e-6, msg=str(key))


@pytest.mark.slow
def test_torchrun_starts_two_nodes(tmp_path, photos):
    """As documented: the same command on each node, with its own rank and folder."""
    opt = halved(options(photos), 4)
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    running = []
    for rank in range(2):
        folder = tmp_path / f'node{rank}'
        folder.mkdir()
        (folder / 'small.yml').write_text(yaml.safe_dump(opt), encoding='utf-8')
        command = ['torchrun', '--nnodes=2', f'--node_rank={rank}', '--nproc_per_node=1', '--master_addr=127.0.0.1']
        command += [f'--master_port={port}', '-m', 'basicsr.train', '-opt', 'small.yml', '--launcher', 'pytorch']
        environment = {
            **os.environ,
            'OMP_NUM_THREADS': '1',
            'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
        }
        running.append(subprocess.Popen(command, cwd=folder, env=environment))
    assert [process.wait(timeout=300) for process in running] == [0, 0]
    assert (tmp_path / 'node0' / 'experiments' / 'small' / 'models' / 'net_g_latest.pth').is_file()
