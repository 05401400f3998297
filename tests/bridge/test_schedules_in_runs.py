"""Schedules, optimizers, averages and accumulated gradients in the stock runner: stopped amid a step, the same bits."""

from __future__ import annotations

import signal

import pytest
import torch
from small_training import Training, assert_bitwise_equal, options
from test_exact_resume import kill_when


def free(opt: dict) -> dict:
    """Schedule-free optimizers without an average of ours, or Adan with one, two batches for each step."""
    opt['train'].update(
        accumulate=2,
        ema_decay=0,
        warmup_iter=3,
        optim_g={'type': 'AdamWScheduleFree', 'lr': 1e-2},
        optim_d={'type': 'Adan', 'lr': 1e-2},
        scheduler={
            'type': 'SequentialLR',
            'milestones': [6],
            'schedulers': [{'type': 'ConstantLR', 'factor': 1.0}, {'type': 'ExponentialLR', 'gamma': 0.9}],
        },
    )
    opt['logger']['save_checkpoint_freq'] = 100
    return opt


def test_a_training_stopped_amid_a_step_goes_on_to_the_same_bits(tmp_path, photos):
    """Validations in between leave schedule-free training alone; what is saved is the average, not where it trains."""
    whole = Training(tmp_path / 'whole', free(options(photos))).finish()
    stopped = Training(tmp_path / 'run', free(options(photos)))
    kill_when(stopped, 'iter:       5,', signal.SIGTERM)
    stopped.wait()
    saved = max(int(p.stem) for p in (stopped.experiment / 'training_states').glob('*.state'))
    state = stopped.state(saved)
    assert bool(state['of_processes'][0]) == bool(saved % 2)
    points = torch.cat([p.flatten() for p in state['training_points'][0]])
    network = torch.load(stopped.experiment / 'models' / f'net_g_{saved}.pth', weights_only=True)['params']
    average = torch.cat([p.flatten() for p in network.values()])
    assert not torch.equal(points[: len(average)], average)
    resumed = Training(tmp_path / 'run', free(options(photos)), '--auto_resume').finish()
    assert 'changed options' not in resumed.said
    assert_bitwise_equal(resumed.networks(), whole.networks())


@pytest.mark.slow
def test_a_model_of_the_host_takes_any_schedule_and_optimizer_and_resumes(tmp_path, tiny):
    tiny['name'] = 'small'
    tiny['train'].update(total_iter=8, ema_decay=0, optim_g={'type': 'AdamWScheduleFree', 'lr': 1e-3})
    tiny['train']['scheduler'] = {'type': 'ReduceLROnPlateau', 'metric': 'psnr', 'patience': 0, 'threshold': 10.0}
    tiny['val']['val_freq'] = 2
    tiny['logger'].update(use_tb_logger=False, save_checkpoint_freq=1)
    whole = Training(tmp_path / 'whole', tiny).finish()
    assert whole.state(8)['optimizers'][0]['param_groups'][0]['lr'] == pytest.approx(1e-3 * 0.1**3)
    killed = Training(tmp_path / 'run', tiny)
    kill_when(killed, 'iter:       5,')
    killed.wait()
    resumed = Training(tmp_path / 'run', tiny, '--auto_resume').finish()
    assert 'changed options' not in resumed.said
    contents = [torch.load(run.experiment / 'models' / 'net_g_latest.pth')['params'] for run in (resumed, whole)]
    assert_bitwise_equal(*contents)
