"""Two gloo processes train and validate as one process does with the tasks of both."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from small_training import Training, options, train_in_two_processes

RELATIVISTIC = {'type': 'RelativisticGANLoss', 'kind': 'RaGAN', 'loss_weight': 0.1}


@pytest.fixture(scope='module')
def opt(photos) -> dict[str, Any]:
    """Five iterations in epochs of three, six tasks each, with an adversarial loss of each family."""
    opt = options(photos)
    opt['datasets']['train']['tasks_per_epoch'] = 6
    opt['train']['total_iter'] = 5
    opt['train']['losses'].append(RELATIVISTIC)
    opt['val']['metrics']['spectrum'] = {'type': 'PowerSpectrumDiscrepancy', 'bins': 17, 'better': 'lower'}
    opt['logger']['save_checkpoint_freq'] = 100
    return opt


@pytest.fixture(scope='module')
def alone(tmp_path_factory, opt) -> Training:
    return Training(tmp_path_factory.mktemp('alone'), opt).finish()


def halved(opt: dict[str, Any]) -> dict[str, Any]:
    """The same tasks per iteration, shared by two processes."""
    train = {**opt['datasets']['train'], 'batch_size_per_gpu': 1}
    return {**opt, 'datasets': {**opt['datasets'], 'train': train}}


def measured(training: Training) -> dict[str, Any]:
    return json.loads(Path(training.experiment / 'metrics_photos.json').read_text(encoding='utf-8'))


def assert_close(found: dict[Any, torch.Tensor], expected: dict[Any, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for key in expected:
        torch.testing.assert_close(found[key], expected[key], rtol=0, atol=1e-6, msg=str(key))


def test_two_processes_end_with_the_weights_and_metrics_of_one(tmp_path, opt, alone):
    first, second = train_in_two_processes(tmp_path, halved(opt))
    second.finish()
    first.finish()
    assert_close(first.networks(), alone.networks())
    tensors = alone.networks()
    behind = [(tensors['g', 'params', n] - t).abs().max() for (_, key, n), t in tensors.items() if key == 'params_ema']
    assert max(behind) > 1e-3, 'training moved the weights, and their average behind them, by far more than that'

    ours, theirs = measured(first), measured(alone)
    assert len(ours['images']['result']['psnr']) == 3, 'each image counts once, although three do not halve'
    for variant in ('result', 'unadapted'):
        assert ours['images'][variant]['psnr'] == pytest.approx(theirs['images'][variant]['psnr'], abs=1e-3)
        assert ours['mean'][variant] == pytest.approx(theirs['mean'][variant], rel=1e-4)
    assert ours['notes'] == theirs['notes'], 'photos without a face are counted over all processes'
    assert first.said.count('End of training') == 1
    assert 'iter:' not in second.said, 'one process speaks'


def test_a_signal_to_one_process_stops_all_and_they_go_on_together(tmp_path, opt, alone):
    both = train_in_two_processes(tmp_path, halved(opt))
    deadline = time.monotonic() + 120
    while 'iter:       1,' not in both[0].said:
        assert time.monotonic() < deadline, both[0].said[-2000:]
        time.sleep(0.005)
    os.kill(both[1].process.pid, signal.SIGTERM)
    assert [training.wait() for training in both] == [128 + signal.SIGTERM] * 2
    (state,) = (both[0].experiment / 'training_states').iterdir()
    assert len(torch.load(state, weights_only=True)['random']) == 2, 'each process has generators of its own'
    shutil.copytree(tmp_path / 'experiments', tmp_path / 'one' / 'experiments')
    by_one = Training(tmp_path / 'one', opt, '--auto_resume').finish()
    assert 'written by 2 processes and is resumed by 1' in by_one.said
    assert_close(by_one.networks(), alone.networks())
    resumed = train_in_two_processes(tmp_path, halved(opt), '--auto_resume')
    for training in resumed:
        training.finish()
    assert f'iter: {state.stem}.' in resumed[0].said
    assert_close(resumed[0].networks(), alone.networks())
