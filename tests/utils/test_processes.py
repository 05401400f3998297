"""Claims and shares of several processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import pytest

from metaf2n_arch.utils.checks import OptionError
from metaf2n_arch.utils.lines import LineWriter, read_lines
from metaf2n_arch.utils.processes import STALE, Claims, host, identity, is_running
from metaf2n_arch.utils.shard import Shard, shard_of


def take_all(folder: Path, names: list[str], start: float) -> list[str]:
    time.sleep(max(0.0, start - time.time()))
    claims = Claims(folder)
    return [name for name in names if claims.take(name)]


def test_of_many_processes_each_thing_is_taken_by_one(tmp_path):
    names = [str(number) for number in range(300)]
    for number in range(0, 300, 3):  # left behind by a dead process
        tmp_path.joinpath(str(number)).write_text(json.dumps({'host': host(), 'process': 2**22 + 1, 'start': '1'}))
    with multiprocessing.get_context('fork').Pool(4) as pool:
        taken = pool.starmap(take_all, [(tmp_path, names, time.time() + 0.3)] * 4)
    assert sorted(chain(*taken)) == sorted(names)
    assert not [file for file in tmp_path.iterdir() if file.name.startswith('.')]


def test_claims_of_the_dead_are_taken_over_and_those_of_the_living_are_not(tmp_path):
    claims = Claims(tmp_path)
    assert claims.take('a')
    assert not Claims(tmp_path).take('a')
    claims.release('a')
    assert Claims(tmp_path).take('a')
    dead = subprocess.Popen([sys.executable, '-c', ''])
    dead.wait()
    others = {
        'dead': ({**identity(), 'process': dead.pid, 'start': ''}, 0.0, True),
        'same number, started later': ({**identity(), 'start': 'earlier'}, 0.0, os.path.isdir('/proc/self')),
        'elsewhere, at work': ({**identity(), 'host': 'elsewhere'}, 0.0, False),
        'elsewhere, silent': ({**identity(), 'host': 'elsewhere'}, STALE + 10, True),
    }
    for name, (who, silent, free) in others.items():
        (tmp_path / name).write_text(json.dumps(who))
        os.utime(tmp_path / name, (time.time() - silent,) * 2)
        assert claims.take(name) == free, name
    assert is_running(os.getpid(), identity()['start'])


ENVIRONMENTS = {
    'alone': ({}, Shard()),
    'torchrun': ({'RANK': '3', 'WORLD_SIZE': '8', 'LOCAL_RANK': '1'}, Shard(3, 8, 'torchrun', 1)),
    'torchrun of one': ({'RANK': '0', 'WORLD_SIZE': '1', 'LOCAL_RANK': '0'}, Shard()),
    'srun': ({'SLURM_PROCID': '2', 'SLURM_STEP_NUM_TASKS': '4', 'SLURM_LOCALID': '0'}, Shard(2, 4, 'srun', 0)),
    'a batch script, which is one process': ({'SLURM_PROCID': '0', 'SLURM_NTASKS': '4'}, Shard()),
    'array': (
        {
            'SLURM_ARRAY_TASK_ID': '6',
            'SLURM_ARRAY_TASK_MIN': '2',
            'SLURM_ARRAY_TASK_MAX': '8',
            'SLURM_ARRAY_TASK_STEP': '2',
        },
        Shard(2, 4, 'in an array job'),
    ),
    'array with gaps': (
        {
            'SLURM_ARRAY_TASK_ID': '5',
            'SLURM_ARRAY_TASK_MIN': '1',
            'SLURM_ARRAY_TASK_MAX': '9',
            'SLURM_ARRAY_TASK_COUNT': '3',
        },
        Shard(),
    ),
    'srun in an array': (
        {
            'SLURM_PROCID': '1',
            'SLURM_STEP_NUM_TASKS': '2',
            'SLURM_LOCALID': '1',
            'SLURM_ARRAY_TASK_ID': '1',
            'SLURM_ARRAY_TASK_MIN': '0',
            'SLURM_ARRAY_TASK_MAX': '2',
        },
        Shard(3, 6, 'srun in an array job', 1),
    ),
    'Grid Engine': (
        {'SGE_TASK_ID': '2', 'SGE_TASK_FIRST': '1', 'SGE_TASK_LAST': '3', 'SGE_TASK_STEPSIZE': '1'},
        Shard(1, 3, 'in an array job'),
    ),
    'Grid Engine without an array': (
        {'SGE_TASK_ID': 'undefined', 'SGE_TASK_FIRST': 'undefined', 'SGE_TASK_LAST': 'undefined'},
        Shard(),
    ),
}


@pytest.mark.parametrize('name', ENVIRONMENTS)
def test_a_launchers_variables_tell_the_share(name):
    environment, wanted = ENVIRONMENTS[name]
    assert shard_of(None, environment) == wanted
    assert shard_of('1/1', environment).count == 1


def test_shares_are_disjoint_and_together_all():
    things = list(range(23))
    assert sorted(chain(*(Shard(i, 5).of(things) for i in range(5)))) == things


@pytest.mark.parametrize('text', ['0/3', '4/3', '3', 'a/b', '1/0', '-1/2', ''])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(OptionError, match='expected I/N'):
        shard_of(text, {})


def test_lines_survive_a_torn_one_and_are_read_from_where_one_stopped(tmp_path):
    path = tmp_path / 'sub' / 'a.jsonl'
    writer = LineWriter(path)
    writer.add({'n': 1})
    writer.close()
    [(place, first)] = read_lines(path)
    path.write_bytes(path.read_bytes() + b'{"n": ')
    again = LineWriter(path)
    again.add({'n': 'Käse \udce4'})
    again.close()
    assert first == {'n': 1}
    assert [entry['n'] for _, entry in read_lines(path, place)] == ['Käse \udce4']
    assert not list(read_lines(tmp_path / 'absent'))
