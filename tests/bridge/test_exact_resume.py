"""A training that was killed and continued ends with the weights, to the bit, of one that was left alone."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest
import torch
from small_training import ITERATIONS, Training, assert_bitwise_equal, options


def kill_when(training: Training, text: str, number: int = signal.SIGKILL) -> None:
    """Sends a signal as soon as the training has said `text`."""
    deadline = time.monotonic() + 120
    while text not in training.said:
        assert training.process.is_alive(), training.said[-2000:]
        assert time.monotonic() < deadline, training.said[-2000:]
        time.sleep(0.005)
    os.kill(training.process.pid, number)


def test_a_killed_training_continues_to_the_same_bits(tmp_path, photos, finished):
    killed = Training(tmp_path / 'run', options(photos))
    kill_when(killed, 'iter:       5,')  # in the second epoch, after the state of iteration 4
    assert killed.wait() == -signal.SIGKILL
    resumed = Training(tmp_path / 'run', options(photos), '--auto_resume').finish()
    assert 'Resuming training from epoch: 1, iter: ' in resumed.said
    assert_bitwise_equal(resumed.networks(), finished.networks())
    ours, theirs = resumed.state(ITERATIONS), finished.state(ITERATIONS)
    for key in ('iter', 'epoch', 'position', 'best_metrics', 'model', 'schedulers'):
        assert ours[key] == theirs[key], key
    assert str(ours['optimizers']) == str(theirs['optimizers'])
    assert str(ours['random']) == str(theirs['random'])


def test_a_finished_training_can_be_lengthened(tmp_path, photos, finished):
    """Its last iteration was amid an epoch; a resume with nothing left to do changes nothing."""
    short = options(photos)
    short['train']['total_iter'] = 8
    Training(tmp_path, short).finish()
    Training(tmp_path, short, '--auto_resume').finish()
    resumed = Training(tmp_path, options(photos), '--auto_resume').finish()
    assert 'Resuming training from epoch: 2, iter: 8.' in resumed.said
    assert_bitwise_equal(resumed.networks(), finished.networks())


def test_training_reaches_its_last_iteration_where_batches_do_not_divide(tmp_path, photos):
    opt = options(photos)
    opt['train']['total_iter'] = 5
    opt['datasets']['train']['batch_size_per_gpu'] = 4  # one iteration for seven tasks; the host counts two
    assert 'iter:       5,' in Training(tmp_path, opt).finish().said
    opt['train']['total_iter'] = 9
    opt['datasets']['train']['batch_size_per_gpu'] = 1  # the host counts two epochs in all, and this is the sixth
    assert 'iter:       9,' in Training(tmp_path, opt, '--auto_resume').finish().said


def test_too_large_a_batch_is_an_error_and_no_training_without_iterations(tmp_path, tiny):
    tiny['datasets']['train'].update(num_worker_per_gpu=0, batch_size_per_gpu=8)
    training = Training(tmp_path, tiny)
    assert training.wait() == 1
    assert 'DataError: datasets.train: 4 images for each process do not fill a batch of 8' in training.said


@pytest.mark.slow
@pytest.mark.parametrize('workers', [0, 2])
def test_any_moment_will_do(tmp_path, photos, finished, workers):
    """Ten random moments, from before the first state to after the last iteration, in mid-save as well."""
    opt = options(photos)
    opt['datasets']['train']['num_worker_per_gpu'] = workers
    opt['logger']['save_checkpoint_freq'] = 1  # most of the time is then spent saving
    started = time.monotonic()
    Training(tmp_path / 'timed', opt).finish()
    duration = time.monotonic() - started
    moments = random.Random(workers)
    resumed_at = []
    for number in range(10):
        killed = Training(tmp_path / f'run{number}', opt)
        killed.process.join(moments.uniform(0.4, 1.0) * duration)
        if killed.process.is_alive():
            os.kill(killed.process.pid, signal.SIGKILL)
        killed.wait()
        resumed = Training(tmp_path / f'run{number}', opt, '--auto_resume').finish()
        assert_bitwise_equal(resumed.networks(), finished.networks())
        resumed_at.append(resumed.said.partition('Start training from epoch: ')[2].partition('\n')[0])
    print(f'continued from: {resumed_at}')
    assert len(set(resumed_at)) > 1, 'all were killed at the same iteration'


def test_a_model_of_the_host_resumes_exactly_too(tmp_path, tiny):
    """With its own data set, whose flips and turns draw from the global generators, read ahead by a worker."""
    tiny['name'] = 'small'
    tiny['train']['total_iter'] = 9
    tiny['datasets']['train'].update(num_worker_per_gpu=1, prefetch_mode='cpu')
    tiny['logger']['use_tb_logger'] = False
    whole = Training(tmp_path / 'whole', tiny).finish()
    killed = Training(tmp_path / 'run', tiny)
    kill_when(killed, 'iter:       5,')  # an epoch has two iterations: a state lies at the end of each
    killed.wait()
    resumed = Training(tmp_path / 'run', tiny, '--auto_resume').finish()
    assert 'Resuming training from' in resumed.said
    contents = [torch.load(run.experiment / 'models' / 'net_g_latest.pth') for run in (resumed, whole)]
    for key in ('params', 'params_ema'):
        assert_bitwise_equal(contents[0][key], contents[1][key])
