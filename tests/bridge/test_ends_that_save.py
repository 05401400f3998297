"""Whatever ends a training, what it has done is saved first, and it goes on to the same bits."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from small_training import Training, assert_bitwise_equal, options, train_in_two_processes
from test_never_loses_work import children, wait_until_it_says

FAILS_ONCE = """
import os, sys
from pathlib import Path
import basicsr
from basicsr.train import train_pipeline
from basicsr.utils.registry import LOSS_REGISTRY
from basicsr.losses.basic_loss import L1Loss
calls = 0

@LOSS_REGISTRY.register()
class FailingLoss(L1Loss):
    def forward(self, *arguments, **named):
        global calls
        calls += 1
        if calls == int(os.environ['FAILS_AT']):
            {failure}
        return super().forward(*arguments, **named)

sys.argv = ['train.py', *sys.argv[1:]]
train_pipeline(str(Path(basicsr.__file__).parents[1]))
"""


@pytest.fixture
def opt(photos):
    """A run that saves nothing by itself before its end and validates once."""
    opt = options(photos)
    opt['logger']['save_checkpoint_freq'] = 100
    opt['val']['val_freq'] = 100
    return opt


def newest(training: Training) -> int:
    return max(int(f.stem) for f in (training.experiment / 'training_states').glob('*.state'))


def test_a_bad_image_ends_training_after_saving_and_is_named(tmp_path, photos, opt, finished):
    copy = tmp_path / 'photos'
    shutil.copytree(photos, copy)
    bad = copy / 'naturals' / '4.png'
    good = bad.read_bytes()
    opt['datasets']['train'].update(dataroot_face=str(copy / 'faces'), dataroot_gt=str(copy / 'naturals'))
    stopped = Training(tmp_path, opt)
    wait_until_it_says(stopped, 'iter:       3,')
    bad.write_bytes(good[: len(good) // 3])
    assert stopped.wait() != 0
    assert str(bad) in stopped.said
    iteration = int(re.search(r'DataError: iteration (\d+) is saved; --auto_resume continues', stopped.said)[1])
    assert iteration == newest(stopped)
    bad.write_bytes(good)
    resumed = Training(tmp_path, opt, '--auto_resume').finish()
    assert_bitwise_equal(resumed.networks(), finished.networks())


def test_unreadable_images_are_skipped_counted_and_listed_where_asked(tmp_path, photos, opt):
    copy = tmp_path / 'photos'
    shutil.copytree(photos, copy)
    photo = copy / 'naturals' / '2.png'
    photo.write_bytes(photo.read_bytes()[:200])  # its size can still be read
    (copy / 'naturals' / '4.png').write_text('not an image')
    opt['datasets']['train'].update(
        dataroot_face=str(copy / 'faces'), dataroot_gt=str(copy / 'naturals'), skip_unreadable=True
    )
    once = Training(tmp_path / 'once', opt).finish()
    listed = (once.experiment / 'unreadable.txt').read_text().splitlines()
    assert sorted(re.search(r'(\d\.png)', line)[1] for line in listed) == ['2.png', '4.png']
    assert '2 images could not be read so far and are skipped' in once.said
    assert 'dataroot_gt: 1 of 7 headers cannot be read; these images are skipped.' in once.said
    opt['datasets']['train']['num_worker_per_gpu'] = 2
    again = Training(tmp_path / 'again', opt).finish()
    assert_bitwise_equal(again.networks(), once.networks())


def test_a_dead_worker_ends_training_after_saving(tmp_path, opt, finished):
    opt['datasets']['train']['num_worker_per_gpu'] = 1
    stopped = Training(tmp_path, opt)
    wait_until_it_says(stopped, 'iter:       2,')
    for pid in children(stopped.process.pid):
        os.kill(pid, signal.SIGKILL)
    assert stopped.wait() != 0
    # PyTorch tells of the dead worker, or of the connection that died with it, whichever it notices first.
    assert 'is killed by signal' in stopped.said or 'Connection' in stopped.said
    assert f'iteration {newest(stopped)} is saved' in stopped.said
    opt['datasets']['train']['num_worker_per_gpu'] = 0
    assert_bitwise_equal(Training(tmp_path, opt, '--auto_resume').finish().networks(), finished.networks())


@pytest.mark.parametrize(
    'failure',
    ['raise RuntimeError("a kernel has failed")', 'sys.exit(3)'],
    ids=['exception', 'exit'],
)
@pytest.mark.slow
def test_a_loss_that_fails_in_the_middle_of_an_iteration(tmp_path, opt, failure):
    """The same program that does not fail is the oracle. The random numbers of the failed iteration are drawn again."""
    opt['train']['losses'][0] = {'type': 'FailingLoss', 'target': 'gt'}
    (tmp_path / 'small.yml').write_text(yaml.safe_dump(opt))

    def run(fails_at: int, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, 'FAILS_AT': str(fails_at), 'OMP_NUM_THREADS': '1'}
        code = FAILS_ONCE.replace('{failure}', failure)
        command = [sys.executable, '-c', code, '-opt', 'small.yml', *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    class Files:
        experiment = tmp_path / 'experiments' / 'small'
        networks = Training.networks

    assert run(0).returncode == 0
    expected = Files().networks()
    shutil.rmtree(tmp_path / 'experiments')
    stopped = run(17)
    assert stopped.returncode == (3 if 'exit' in failure else 1), stopped.stderr
    assert ('a kernel has failed' in stopped.stderr) == ('exit' not in failure)
    iteration = newest(Files())
    assert 0 < iteration < 10
    assert f'iteration {iteration} is saved' in stopped.stdout + stopped.stderr
    assert 'optimizer had stepped' not in stopped.stdout + stopped.stderr
    resumed = run(0, '--auto_resume')
    assert resumed.returncode == 0, resumed.stderr
    assert_bitwise_equal(Files().networks(), expected)


def test_a_removed_experiment_folder_is_made_again(tmp_path, photos, finished):
    training = Training(tmp_path, options(photos))
    wait_until_it_says(training, 'iter:       3,')
    os.kill(training.process.pid, signal.SIGSTOP)
    shutil.rmtree(training.experiment)
    os.kill(training.process.pid, signal.SIGCONT)
    training.finish()
    assert_bitwise_equal(training.networks(), finished.networks())
    assert 'was removed during this run. It is made again' in training.said
    assert newest(training) == 10
    (log,) = training.experiment.glob('train_*.log')
    assert 'End of training' in log.read_text()


@pytest.mark.parametrize('arguments', [(), ('--auto_resume',)])
def test_a_second_run_of_that_name_is_told_of_the_first(tmp_path, photos, finished, arguments):
    first = Training(tmp_path, options(photos))
    wait_until_it_says(first, 'iter:       1,')
    os.kill(first.process.pid, signal.SIGSTOP)
    second = Training(tmp_path, options(photos), *arguments)
    assert second.wait() != 0
    line = rf'DataError: \S+/small: another run \(process {first.process.pid} on \S+, since .*\) writes there'
    assert re.search(line, second.said), second.said
    assert [f.name for f in (tmp_path / 'experiments').iterdir() if not f.name.startswith('.')] == ['small']
    os.kill(first.process.pid, signal.SIGCONT)
    first.finish()
    assert_bitwise_equal(first.networks(), finished.networks())
    assert [f.name for f in (tmp_path / 'experiments').iterdir()] == ['small'], 'the lock is gone'


def test_of_two_processes_the_first_saves_when_the_second_fails(tmp_path, photos, opt):
    """The second reads a bad image, which the first never sees; oracle: the run without it."""
    copy = tmp_path / 'photos'
    shutil.copytree(photos, copy)
    bad = copy / 'naturals' / '5.png'
    good = bad.read_bytes()
    opt['datasets']['train'].update(dataroot_face=str(copy / 'faces'), dataroot_gt=str(copy / 'naturals'))
    opt['datasets']['train']['batch_size_per_gpu'] = 1
    whole = train_in_two_processes(tmp_path / 'whole', opt)
    for process in whole:
        process.finish()
    expected = whole[0].networks()
    bad.write_bytes(good[:100])
    stopped = train_in_two_processes(tmp_path / 'stopped', opt)
    assert all(process.wait() != 0 for process in stopped)
    assert f'iteration {newest(stopped[0])} is saved' in stopped[0].said + stopped[1].said
    bad.write_bytes(good)
    resumed = [p.finish() for p in train_in_two_processes(tmp_path / 'stopped', opt, '--auto_resume')]
    assert 'generators start over' not in resumed[0].said
    assert_bitwise_equal(resumed[0].networks(), expected)


@pytest.mark.slow
def test_processes_end_when_their_launcher_is_gone(tmp_path, opt):
    """torchrun itself is killed: nothing is left that writes, and all is saved."""
    opt['train']['total_iter'] = 100_000
    opt['datasets']['train']['batch_size_per_gpu'] = 1
    (tmp_path / 'small.yml').write_text(yaml.safe_dump(opt))
    command = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2', '-m', 'basicsr.train']
    with open(tmp_path / 'said.txt', 'w') as said:
        launcher = subprocess.Popen(
            [sys.executable, *command, '-opt', 'small.yml', '--launcher', 'pytorch'],
            cwd=tmp_path,
            env={**os.environ, 'OMP_NUM_THREADS': '1'},
            stdout=said,
            stderr=said,
        )
    deadline = time.monotonic() + 180
    while 'iter:       3,' not in (tmp_path / 'said.txt').read_text():
        assert time.monotonic() < deadline, (tmp_path / 'said.txt').read_text()[-2000:]
        assert launcher.poll() is None, (tmp_path / 'said.txt').read_text()[-2000:]
        time.sleep(0.1)
    ranks = children(launcher.pid)
    assert len(ranks) >= 2
    launcher.kill()
    launcher.wait()
    while any(Path(f'/proc/{pid}').exists() for pid in ranks):
        assert time.monotonic() < deadline, (tmp_path / 'said.txt').read_text()[-2000:]
        time.sleep(0.1)
    said = (tmp_path / 'said.txt').read_text()
    assert 'torchrun has ended: saving, then stopping.' in said
    assert re.search(r'Stopped by SIGTERM after iteration \d+, which is saved', said)
