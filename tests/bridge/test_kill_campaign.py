"""A campaign of ends and damage on a small training: whatever happens, resuming leads to the same bits.

Each test draws its cases by a seed of its own and goes on for as many seconds as `BUDGET` gives it; what it saw is
printed (``pytest -m slow -s tests/bridge/test_kill_campaign.py``) and stands in `docs/never_loses_work.md`.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_training import ITERATIONS, Training, assert_bitwise_equal, options, train_in_two_processes
from test_never_loses_work import children, wait_until_it_says

pytestmark = pytest.mark.slow

BUDGET = float(os.environ.get('METAF2N_CAMPAIGN_SECONDS', '35'))
"""Seconds of each of the six tests."""
ANNOUNCED = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU, signal.SIGTERM, signal.SIGINT)


def rounds(least: int, most: int = 10_000) -> Iterator[int]:
    """Numbers from 0 on: at least so many, then until the budget is spent."""
    end = time.monotonic() + BUDGET
    for number in range(most):
        if number >= least and time.monotonic() > end:
            return
        yield number


@pytest.fixture
def opt(photos):
    """Saves in each iteration, so that much of the time is spent saving."""
    opt = options(photos)
    opt['logger']['save_checkpoint_freq'] = 1
    return opt


@pytest.fixture
def duration(tmp_path, opt) -> float:
    """Seconds of a training that nothing disturbs."""
    started = time.monotonic()
    Training(tmp_path / 'timed', opt).finish()
    return time.monotonic() - started


def test_killed_again_and_again_a_training_ends_with_the_same_bits(tmp_path, opt, finished, duration):
    draw, seen = random.Random(1), Counter()
    for number in rounds(2):
        for attempt in range(20):
            run = Training(tmp_path / str(number), opt, '--auto_resume')
            run.process.join(draw.uniform(0.1, 0.8) * duration if attempt < 4 else 120)
            if run.process.is_alive():
                run.process.kill()
                run.wait()
                seen['SIGKILLs'] += 1
            elif run.process.exitcode == 0:
                break
            else:
                pytest.fail(run.said[-3000:])
        assert_bitwise_equal(run.networks(), finished.networks())
        seen['trainings'] += 1
        shutil.rmtree(tmp_path / str(number))
    print(f'\nrandom SIGKILLs: {dict(seen)}')


def test_any_damage_leads_to_the_newest_set_that_is_whole(tmp_path, photos, opt, capsys):
    """Bits, pages, cut ends, swapped and missing files, several at once; the oracle is what lay there before."""
    from metaf2n_arch.bridge.host.train import load_resume_state

    pristine = Training(tmp_path, opt).finish().experiment
    whole = {f.relative_to(pristine): f.read_bytes() for f in pristine.rglob('*') if f.is_file()}
    sets = {n: [p for p in whole if re.search(rf'\b{n}\.(state|json)$|_{n}\.pth$', str(p))] for n in range(1, 11)}
    assert all(len(files) == 5 for files in sets.values()), sets
    draw, seen = random.Random(2), Counter()
    paths = {key: str(pristine / key) for key in ('models', 'training_states')}
    for _ in rounds(300):
        damaged = set()
        for _ in range(draw.choice([1, 1, 1, 2, 3, 5, 9])):
            iteration = min(ITERATIONS, 1 + int(draw.expovariate(0.4)))
            path = draw.choice(sets[ITERATIONS + 1 - iteration])
            kind = draw.choice(['bit', 'bit', 'page', 'cut', 'empty', 'missing', 'swapped', 'swapped'])
            damage(pristine / path, kind, [pristine / p for p in whole if p.suffix == path.suffix and p != path], draw)
            damaged.add(path)
            seen[kind] += 1
        changed = {p for p in damaged if not (pristine / p).exists() or (pristine / p).read_bytes() != whole[p]}
        expected = max((n for n, files in sets.items() if not changed & set(files)), default=None)
        resume = {**opt, 'root_path': str(tmp_path), 'auto_resume': True, 'path': {**paths, 'resume_state': None}}
        lost = next((p for p in changed if p.suffix == '.json' and not (pristine / p).exists()), None)
        if lost is None:  # without its manifest a set of an older version may be resumed, and is said to be no more
            state = load_resume_state(resume)
            found = None if state is None else state['iter']
            assert found == expected, f'{found} instead of {expected}: {sorted(map(str, changed))}'
            seen['resumed'] += 1
        for p in changed:
            (pristine / p).write_bytes(whole[p])
    capsys.readouterr()
    with capsys.disabled():
        print(f'\ndamage: {dict(seen)}')


def damage(path: Path, kind: str, others: list[Path], draw: random.Random) -> None:
    content = bytearray(path.read_bytes()) if path.exists() else bytearray()
    if kind == 'missing':
        path.unlink(missing_ok=True)
    elif kind == 'swapped':
        other = draw.choice(others)
        if other.exists():
            path.write_bytes(other.read_bytes())
    elif content:
        place = draw.randrange(len(content))
        if kind == 'bit':
            content[place] ^= 1 << draw.randrange(8)
        elif kind == 'page':
            content[place : place + 4096] = bytes(len(content[place : place + 4096]))
        path.write_bytes(content[: {'cut': place, 'empty': 0}.get(kind, len(content))])


def test_of_several_writers_one_trains_and_the_others_are_told(tmp_path, opt, finished, duration):
    draw, seen = random.Random(3), Counter()
    for number in rounds(2):
        folder = tmp_path / str(number)
        writers = []
        for _ in range(3):
            writers.append(Training(folder, opt, '--auto_resume'))
            time.sleep(draw.choice([0, 0, 0.3, 0.8]) * duration)
        killed = draw.random() < 0.5
        if killed:  # the one that writes is killed: nobody takes over by itself
            lock = folder / 'experiments' / '.small.lock'
            victim = json.loads(lock.read_text() or '{}').get('pid') if lock.exists() else None
            for each in writers:
                if each.process.pid == victim:
                    each.process.kill()
                    seen['killed'] += 1
        codes = [each.wait() for each in writers]
        told = [w for w in writers if 'another run (process' in w.said]
        seen['told'] += len(told)
        assert all(c in (0, 1, -signal.SIGKILL) for c in codes), [w.said[-800:] for w in writers]
        assert all((c == 1) == (w in told) for c, w in zip(codes, writers))
        last = Training(folder, opt, '--auto_resume').finish()
        assert_bitwise_equal(last.networks(), finished.networks())
        kept = [f.name for f in (folder / 'experiments').iterdir()]
        assert kept == ['small'], kept
        seen['rounds'] += 1
    print(f'\nwriters: {dict(seen)}')


def fails_at(call: int) -> None:
    """Registers a loss that fails in its `call`-th call, in the process that trains."""
    from basicsr.losses.basic_loss import L1Loss
    from basicsr.utils.registry import LOSS_REGISTRY

    calls = iter(range(1, 10_000))

    class FailingLoss(L1Loss):
        def forward(self, *arguments, **named):
            if next(calls) == call:
                raise RuntimeError('a kernel has failed')
            return super().forward(*arguments, **named)

    LOSS_REGISTRY._do_register('FailingLoss', FailingLoss)


def test_exceptions_anywhere_in_an_iteration_cost_nothing(tmp_path, photos):
    """The failure falls into the inner, the outer or the logged pass of any iteration; nothing was saved before."""
    opt = options(photos)
    opt['logger']['save_checkpoint_freq'] = 100
    opt['val']['val_freq'] = 100
    opt['train']['losses'][0] = {'type': 'FailingLoss', 'target': 'gt'}
    whole = Training(tmp_path / 'whole', opt, prepare=partial(fails_at, 0)).finish()
    draw, seen = random.Random(4), Counter()
    for number in rounds(2):
        folder = tmp_path / str(number)
        stopped = Training(folder, opt, prepare=partial(fails_at, draw.randrange(1, 60)))
        code = stopped.wait()
        assert code == 1 or stopped.process.exitcode == 0
        if code == 1:
            assert 'a kernel has failed' in stopped.said
            saved = re.search(r'RuntimeError: iteration (\d+) is saved', stopped.said)
            seen['saved' if saved else 'in the first iteration'] += 1
            assert 'optimizer had stepped' not in stopped.said
            assert saved is not None or not list((folder / 'experiments').rglob('*.state'))
        resumed = Training(folder, opt, '--auto_resume', prepare=partial(fails_at, 0)).finish()
        assert_bitwise_equal(resumed.networks(), whole.networks())
        shutil.rmtree(folder)
    print(f'\nexceptions: {dict(seen)}')


def test_signals_at_any_moment_save_and_go_on_to_the_same_bits(tmp_path, photos, finished, duration):
    opt = options(photos)
    opt['logger']['save_checkpoint_freq'] = 100
    draw, seen = random.Random(5), Counter()
    for number in rounds(len(ANNOUNCED)):
        which = ANNOUNCED[number % len(ANNOUNCED)]
        opt['datasets']['train']['num_worker_per_gpu'] = draw.choice([0, 1])
        stopped = Training(tmp_path / str(number), opt)
        wait_until_it_says(stopped, 'iter:       1,')
        time.sleep(draw.random() * 0.1 * duration)
        if stopped.process.is_alive():
            os.kill(stopped.process.pid, which)
        code = stopped.wait()
        assert code in (0, 128 + which), stopped.said[-2000:]
        seen[which.name if code else 'too late'] += 1
        resumed = Training(tmp_path / str(number), opt, '--auto_resume').finish()
        assert_bitwise_equal(resumed.networks(), finished.networks())
        shutil.rmtree(tmp_path / str(number))
    print(f'\nsignals: {dict(seen)}')


def finished_by_two(folder: Path, opt: dict[str, Any], *arguments: str) -> Training:
    first, second = train_in_two_processes(folder, opt, *arguments)
    second.finish()
    return first.finish()


def test_the_launcher_is_killed_and_two_processes_go_on_to_the_same_bits(tmp_path, photos):
    """torchrun is killed at a random moment; the oracle is a training in two processes that nothing disturbs."""
    opt = options(photos)
    opt['datasets']['train']['batch_size_per_gpu'] = 1
    opt['train']['total_iter'] = 40
    opt['logger']['save_checkpoint_freq'] = 100
    whole = finished_by_two(tmp_path / 'whole', opt)
    draw, seen = random.Random(6), Counter()
    for number in rounds(1):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / 'small.yml').write_text(yaml.safe_dump(opt))
        command = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2', '-m', 'basicsr.train']
        with open(folder / 'said.txt', 'w') as said:
            launcher = subprocess.Popen(
                [sys.executable, *command, '-opt', 'small.yml', '--launcher', 'pytorch'],
                cwd=folder,
                env={**os.environ, 'OMP_NUM_THREADS': '1'},
                stdout=said,
                stderr=said,
            )
        deadline = time.monotonic() + 180
        while 'iter:       1,' not in (folder / 'said.txt').read_text():
            assert time.monotonic() < deadline, (folder / 'said.txt').read_text()[-2000:]
            time.sleep(0.02)
        time.sleep(draw.random())
        ranks = children(launcher.pid)
        launcher.kill()
        launcher.wait()
        while any(Path(f'/proc/{pid}').exists() for pid in ranks):
            assert time.monotonic() < deadline, (folder / 'said.txt').read_text()[-2000:]
            time.sleep(0.1)
        text = (folder / 'said.txt').read_text()
        seen['killed' if 'torchrun has ended: saving' in text else 'too late'] += 1
        resumed = finished_by_two(folder, opt, '--auto_resume')
        assert_bitwise_equal(resumed.networks(), whole.networks())
        shutil.rmtree(folder)
    print(f'\nlauncher: {dict(seen)}')
