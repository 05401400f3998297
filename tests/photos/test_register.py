"""A run goes on where it stopped, and two of them on one folder do no photo twice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from metaf2n_arch.images.photo import Photo
from metaf2n_arch.images.writing import write_photo
from metaf2n_arch.photos.jobs import collect
from metaf2n_arch.photos.register import DONE, TAKEN, Register


@pytest.fixture
def folder(tmp_path, astronaut) -> Path:
    for number in range(12):
        write_photo(
            tmp_path / 'in' / f'{number:02}.png', Photo(np.ascontiguousarray(astronaut[:16, number : number + 24]))
        )
    return tmp_path


def test_what_is_done_is_told_from_what_has_changed(folder):
    jobs = collect([folder / 'in'], folder / 'out')[:4]
    first = Register(folder / 'out', {'seed': 0})
    for job in jobs:
        assert first.take(job) is None
        shutil.copy(job.source, job.target)
        first.finish(job, done=True)
    first.close()
    jobs[0].target.unlink()
    write_photo(jobs[1].source, Photo(np.zeros((9, 9, 3), np.uint8)))
    again = Register(folder / 'out', {'seed': 0})
    assert [again.take(job) for job in jobs] == [None, None, DONE, DONE]
    assert [Register(folder / 'out', {'seed': 1}).take(job) for job in jobs[2:]] == [None, None]
    other = Register(folder / 'out', {'seed': 0}, again=True)
    assert other.take(jobs[0]) == TAKEN


def test_the_result_of_another_photo_is_not_overwritten(folder):
    [job] = collect([folder / 'in' / '00.png'], folder / 'out', 'jpeg')
    register = Register(folder / 'out', {})
    register.take(job)
    job.target.write_bytes(b'x')
    register.finish(job, done=True)
    shutil.copy(job.source, folder / 'in' / '00.webp')
    [other] = collect([folder / 'in' / '00.webp'], folder / 'out', 'jpeg')
    assert register.conflict(job) is None
    assert 'the result of another photo' in register.conflict(other)


COMMAND = """
import sys
from metaf2n_arch.cli.main import main
main()
"""


@pytest.mark.parametrize('launcher', ['two at once', 'torchrun'])
def test_two_processes_do_every_photo_once(folder, data_dir, launcher):
    weights = data_dir / 'odd' / 'good.pth'
    arguments = ['restore', folder / 'in', '-o', folder / 'out', '--weights', weights, '--detector', 'cascade']
    arguments += ['--restorer', 'identity', '--device', 'cpu', '--results']
    command = [sys.executable, '-m', 'metaf2n_arch', *map(str, arguments)]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    if launcher == 'torchrun':
        runs = [
            subprocess.Popen(
                [*command, str(folder / 'r.jsonl')],
                env={**environment, 'RANK': str(rank), 'WORLD_SIZE': '2', 'LOCAL_RANK': str(rank)},
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in range(2)
        ]
        files = [folder / f'r.{rank}-of-2.jsonl' for rank in (1, 2)]
    else:
        files = [folder / f'r{number}.jsonl' for number in range(2)]
        runs = [
            subprocess.Popen([*command, str(file)], env=environment, stdout=subprocess.PIPE, text=True)
            for file in files
        ]
    outputs = [run.communicate(timeout=300)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    restored = [line['input'] for line in lines if line['status'] == 'restored']
    assert sorted(restored) == sorted(str(path) for path in (folder / 'in').iterdir())
    assert len(list((folder / 'out').glob('*.png'))) == 12
    assert not list((folder / 'out').rglob('*.part'))
    assert not list((folder / 'out' / '.restore' / 'claims').iterdir())
