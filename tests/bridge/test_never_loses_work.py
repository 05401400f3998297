"""Signals, damaged files, pruning, a full disk, changed options: what a training leaves and how it goes on."""

from __future__ import annotations

import math
import os
import re
import resource
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from small_training import Training, assert_bitwise_equal, options

from metaf2n_arch.run import saving
from metaf2n_arch.run.checkpoint_sets import SetFolders, prune
from metaf2n_arch.utils.checks import DataError


@pytest.fixture
def opt(photos):
    """A run that saves nothing by itself before its end and validates once."""
    opt = options(photos)
    opt['logger']['save_checkpoint_freq'] = 100
    opt['val']['val_freq'] = 100
    return opt


def wait_until_it_says(training: Training, text: str) -> None:
    deadline = time.monotonic() + 120
    while text not in training.said:
        assert training.process.is_alive(), training.said[-2000:]
        assert time.monotonic() < deadline, training.said[-2000:]
        time.sleep(0.005)


def copied(finished: Training, folder: Path) -> Path:
    """A copy of the finished run's experiment; returns its folder."""
    shutil.copytree(finished.experiment, folder / 'experiments' / 'small')
    return folder / 'experiments' / 'small'


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]


@pytest.mark.parametrize(('number', 'workers'), [(signal.SIGTERM, 0), (signal.SIGTERM, 2), (signal.SIGINT, 1)])
def test_a_signal_saves_and_leaves_and_the_run_goes_on_to_the_same_bits(tmp_path, opt, finished, number, workers):
    """A terminal's Ctrl-C and a scheduler's SIGTERM reach the data-loader workers as well."""
    opt['datasets']['train']['num_worker_per_gpu'] = workers
    stopped = Training(tmp_path, opt)
    wait_until_it_says(stopped, 'iter:       2,')
    helpers = children(stopped.process.pid)
    assert len(helpers) == workers
    for pid in (*helpers, stopped.process.pid):
        os.kill(pid, number)
    assert stopped.wait() == 128 + number
    name = signal.Signals(number).name
    assert f'{name}: finishing the iteration, then saving. Press Ctrl-C again to quit now.' in stopped.said
    assert f'Stopped by {name} after iteration' in stopped.said
    assert 'Traceback' not in stopped.said
    assert not any(Path(f'/proc/{pid}').exists() for pid in helpers), 'no worker outlives the training'
    (state,) = (stopped.experiment / 'training_states').iterdir()
    assert (stopped.experiment / 'models' / f'net_m_{state.stem}.pth').is_file()
    resumed = Training(tmp_path, opt, '--auto_resume').finish()
    assert f'iter: {state.stem}.' in resumed.said
    assert_bitwise_equal(resumed.networks(), finished.networks())


def test_a_second_signal_leaves_at_once(tmp_path, opt):
    opt['train']['total_iter'] = 10_000
    training = Training(tmp_path, opt)
    wait_until_it_says(training, 'iter:       1,')
    os.kill(training.process.pid, signal.SIGSTOP)  # so that no iteration ends between the two
    os.kill(training.process.pid, signal.SIGINT)
    os.kill(training.process.pid, signal.SIGTERM)
    os.kill(training.process.pid, signal.SIGCONT)
    assert training.wait() in (-signal.SIGTERM, -signal.SIGINT)
    assert not list((training.experiment / 'training_states').iterdir())


@pytest.mark.parametrize('damage', ['truncated', 'missing'])
@pytest.mark.parametrize('file', ['models/net_g_10.pth', 'models/net_d_10.pth', 'models/net_m_10.pth'])
def test_a_state_whose_networks_are_not_whole_is_passed_over(tmp_path, finished, file, damage, capsys, photos):
    from metaf2n_arch.bridge.host.train import load_resume_state

    experiment = copied(finished, tmp_path)
    if damage == 'missing':
        (experiment / file).unlink()
    else:
        content = (experiment / file).read_bytes()
        (experiment / file).write_bytes(content[: len(content) // 2])
    paths = {key: str(experiment / key) for key in ('models', 'training_states')}
    opt = {**options(photos), 'root_path': str(tmp_path), 'auto_resume': True, 'path': {**paths, 'resume_state': None}}
    assert load_resume_state(opt)['iter'] == 8
    assert f'Checkpoint skipped: {experiment / file}' in capsys.readouterr().out
    assert opt['path']['pretrain_network_m'].endswith('net_m_8.pth')


def test_a_truncated_newest_state_costs_two_iterations_and_no_bit(tmp_path, finished, photos):
    state = copied(finished, tmp_path) / 'training_states' / '10.state'
    state.write_bytes(state.read_bytes()[:1000])
    resumed = Training(tmp_path, options(photos), '--auto_resume').finish()
    assert '10.state: cannot be read as a checkpoint' in resumed.said
    assert 'iter: 8.' in resumed.said
    assert_bitwise_equal(resumed.networks(), finished.networks())


def test_only_the_last_states_are_kept(tmp_path, photos, finished):
    opt = options(photos)
    opt['logger']['keep_last'] = 2
    run = Training(tmp_path, opt).finish()
    assert sorted(f.name for f in (run.experiment / 'training_states').iterdir()) == ['10.state', '8.state']
    assert sorted(f.name for f in (run.experiment / 'models').iterdir()) == sorted(
        f'net_{label}_{iteration}.pth' for label in 'gdm' for iteration in (8, 10, 'latest')
    )
    assert_bitwise_equal(run.networks(), finished.networks())


def test_the_networks_of_the_best_validation_outlive_pruning(tmp_path, photos):
    """So high a rate at the end that the first validation stays the best; it ties with nothing."""
    opt = options(photos)
    opt['logger']['keep_last'] = 1
    opt['train']['optim_g'] = {'type': 'SGD', 'lr': 1e-6}
    opt['train']['scheduler'] = {'type': 'MultiStepLR', 'milestones': [5], 'gamma': 1e6}
    opt['train']['ema_decay'] = 0
    opt['val']['metrics']['again'] = {'type': 'calculate_psnr', 'crop_border': 4, 'better': 'lower'}
    run = Training(tmp_path, opt).finish()
    best = run.state(10)['best_metrics']['photos']
    assert best['psnr']['iter'] == 4
    assert best['again']['iter'] in (8, 10)
    kept = {4, 10, best['again']['iter']}
    assert [f.name for f in (run.experiment / 'training_states').iterdir()] == ['10.state']
    assert {f.name for f in (run.experiment / 'models').iterdir()} == {
        f'net_{label}_{iteration}.pth' for label in 'gdm' for iteration in (*kept, 'latest')
    }


def test_pruning_never_takes_the_newest_good_state_for_a_damaged_later_one(tmp_path):
    """A run that fell back from 30 to 20 and saves 24: 30 may be damaged, 24 is good."""
    for iteration in (10, 20, 24, 30):
        (tmp_path / f'{iteration}.state').write_text('')
        (tmp_path / f'net_g_{iteration}.pth').write_text('')
    (tmp_path / 'net_g_latest.pth').write_text('')
    (tmp_path / 'net_g_5.pth').write_text('a checkpoint whose state was never written')
    prune(SetFolders(tmp_path, tmp_path), keep=1, newest=24)
    assert {f.name for f in tmp_path.iterdir()} == {
        '24.state',
        '30.state',
        'net_g_24.pth',
        'net_g_30.pth',
        'net_g_latest.pth',
    }


def test_a_full_disk_ends_in_one_line_and_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    """The oracle is the system itself: a limit on the size of files makes the write fail half-way."""
    from basicsr.models.base_model import BaseModel

    path = {key: str(tmp_path) for key in ('models', 'training_states')}
    model = BaseModel({'num_gpu': 0, 'is_train': True, 'dist': False, 'rank': 0, 'path': path})
    net = torch.nn.Conv2d(3, 64, 9)
    model.save_network(net, 'net_g', 2)
    good = (tmp_path / 'net_g_2.pth').read_bytes()
    monkeypatch.setattr(saving, 'PAUSE', 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(good) // 2, hard))
    try:
        with pytest.raises(DataError, match=r'net_g_2\.pth: could not be written \(File too large\); free space there'):
            model.save_network(net, 'net_g', 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [f.name for f in tmp_path.iterdir()] == ['net_g_2.pth']
    assert (tmp_path / 'net_g_2.pth').read_bytes() == good
    assert torch.load(tmp_path / 'net_g_2.pth')['params'].keys() == {'weight', 'bias'}


def test_the_option_file_wins_over_the_state_and_the_log_says_so(tmp_path, finished, photos):
    copied(finished, tmp_path)
    (tmp_path / 'experiments' / 'small' / 'training_states' / '10.state').unlink()
    opt = options(photos)
    opt['train']['optim_g']['lr'] = 0.04
    opt['train']['scheduler']['milestones'] = [5, 6, 9]
    run = Training(tmp_path, opt, '--auto_resume').finish()
    assert 'those of the option file are used from here on' in run.said
    assert 'train.optim_g.lr is 0.04 in the option file and 0.01 in the state' in run.said
    assert 'train.scheduler.milestones is [5, 6, 9] in the option file and [5] in the state' in run.said
    # Halved at 5 and 6 before the state, and at 9 after it: the host counts its milestones one iteration late.
    assert 'iter:       9, lr:(1.000e-02,)' in run.said
    assert 'iter:      10, lr:(5.000e-03,)' in run.said
    assert [o['param_groups'][0]['lr'] for o in run.state(10)['optimizers']] == [0.005, 0.00125]
    moments = run.state(10)['optimizers'][0]['state'][0]['step']
    assert int(moments) == 10, 'the moments were kept'


def test_other_types_of_optimizer_and_schedule_start_as_if_they_had_always_held(tmp_path, finished, photos):
    copied(finished, tmp_path)
    opt = options(photos)
    opt['train']['total_iter'] = 12
    opt['train']['optim_g'] = {'type': 'SGD', 'lr': 0.01, 'momentum': 0.9}
    opt['train']['scheduler'] = {'type': 'CosineAnnealingRestartLR', 'periods': [20], 'eta_min': 0}
    run = Training(tmp_path, opt, '--auto_resume').finish()
    assert 'train.optim_g.type is SGD in the option file and Adam in the state' in run.said
    assert 'train.scheduler.type is CosineAnnealingRestartLR in the option file and MultiStepRestartLR' in run.said
    rates = [o['param_groups'][0]['lr'] for o in run.state(12)['optimizers']]
    # Half a cosine over 20 iterations; the host counts one iteration late.
    assert rates == pytest.approx([0.005 * (1 + math.cos(math.pi * 11 / 20))] * 2)


@pytest.mark.skipif(not hasattr(resource, 'prlimit'), reason='needs limits on another process, which Linux has')
def test_a_training_whose_disk_fills_ends_in_one_error_and_goes_on_to_the_same_bits(tmp_path, photos, finished):
    """From some moment on no file may be larger than the log, as if the disk had filled."""
    opt = options(photos)
    opt['train']['total_iter'] = 1000
    training = Training(tmp_path, opt)
    wait_until_it_says(training, 'iter:       3,')
    resource.prlimit(training.process.pid, resource.RLIMIT_FSIZE, (20_000, 20_000))
    assert training.wait() == 1
    assert re.search(r'DataError: \S+: could not be written \(File too large\); free space there', training.said)
    assert 'Tries left: 1.' in training.said
    assert not list(tmp_path.rglob('.*.tmp')), 'nothing half-written stays'
    resumed = Training(tmp_path, options(photos), '--auto_resume').finish()
    assert 'Resuming training from' in resumed.said
    assert_bitwise_equal(resumed.networks(), finished.networks())


def test_a_signal_during_validation_does_not_wait_for_its_end(tmp_path, opt, finished):
    """The validation would take minutes: it is the same three photos many times over."""
    opt['val'].update(val_freq=3, save_img=False)
    photos = tmp_path / 'photos'
    for name in ('GT', 'LQ', 'Face_LQ', 'Face_HQ'):
        (photos / name).mkdir(parents=True)
        for file in sorted((Path(opt['datasets']['val']['dataroot']) / name).iterdir()):
            for copy in range(1000):
                (photos / name / f'{copy}x{file.name}').symlink_to(file)
    few = opt['datasets']['val']['dataroot']
    opt['datasets']['val']['dataroot'] = str(photos)
    stopped = Training(tmp_path, opt)
    wait_until_it_says(stopped, 'iter:       3,')
    time.sleep(0.5)
    os.kill(stopped.process.pid, signal.SIGTERM)
    asked = time.monotonic()
    assert stopped.wait() == 128 + signal.SIGTERM
    assert time.monotonic() - asked < 20
    assert 'Stopped by SIGTERM after iteration 3, which is saved' in stopped.said
    assert 'Validation photos' not in stopped.said
    opt['datasets']['val']['dataroot'] = few
    assert_bitwise_equal(Training(tmp_path, opt, '--auto_resume').finish().networks(), finished.networks())


def test_what_else_has_changed_is_said_and_a_seed_that_was_drawn_goes_on(tmp_path, photos):
    opt = options(photos)
    del opt['manual_seed']
    opt['train']['total_iter'] = 4
    first = Training(tmp_path, opt).finish()
    opt['train']['losses'][1]['loss_weight'] = 0.3
    opt['train']['ema_decay'] = 0.25
    opt['train']['total_iter'] = 6
    second = Training(tmp_path, opt, '--auto_resume').finish()
    drawn = re.search(r'manual_seed: (\d+)', first.said)[1]
    assert f'manual_seed is not given; {drawn}, the seed of the checkpoint, is kept.' in second.said
    assert 'train.losses.1.loss_weight is 0.3 in the option file and 0.1 in the checkpoint: the option' in second.said
    assert 'train.ema_decay is 0.25 in the option file and 0.5 in the checkpoint: the average' in second.said
    assert 'manual_seed is' not in second.said.partition('Start training')[2]


@pytest.mark.parametrize('file', ['models/net_g_10.pth', 'models/net_d_10.pth', 'training_states/10.state'])
@pytest.mark.parametrize('damage', ['a bit', 'of another iteration'])
def test_silent_damage_costs_two_iterations_and_no_bit(tmp_path, finished, photos, file, damage):
    """What torch reads without a word: a bit of a weight, a whole file of iteration 8."""
    path = copied(finished, tmp_path) / file
    shutil.copytree(finished.experiment / 'manifests', tmp_path / 'experiments/small/manifests', dirs_exist_ok=True)
    if damage == 'a bit':
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 16
        path.write_bytes(content)
    else:
        shutil.copy(path.with_name(path.name.replace('10', '8')), path)
    resumed = Training(tmp_path, options(photos), '--auto_resume').finish()
    assert f'Checkpoint skipped: {path}'.replace(str(tmp_path), '') in resumed.said.replace(str(tmp_path), '')
    assert 'iter: 8.' in resumed.said
    assert_bitwise_equal(resumed.networks(), finished.networks())


def test_saving_in_the_background_changes_no_bit_and_can_be_killed(tmp_path, photos, finished):
    opt = options(photos)
    opt['logger']['save_in_background'] = True
    killed = Training(tmp_path, opt)
    wait_until_it_says(killed, 'iter:       7,')
    killed.process.kill()
    killed.wait()
    resumed = Training(tmp_path, opt, '--auto_resume').finish()
    assert_bitwise_equal(resumed.networks(), finished.networks())
    assert_bitwise_equal(resumed.networks(10), finished.networks(10))
