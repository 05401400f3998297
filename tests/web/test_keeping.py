"""What the web page keeps: gone at its end, whatever ends it, and of each visitor when he clears it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from metaf2n_arch.web import keeping
from metaf2n_arch.web.keeping import PREFIX, Sessions, place_for_files, sweep

PROGRAM = """
import tempfile, time
from metaf2n_arch.web.keeping import place_for_files
from metaf2n_arch.web.serving import ended_by_signals
with ended_by_signals(), place_for_files() as place:
    (place / 'photo.png').write_bytes(bytes(100))
    tempfile.NamedTemporaryFile(delete=False).close()
    print(place, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    monkeypatch.setattr(tempfile, 'tempdir', None)
    monkeypatch.setattr(keeping, '_NEW', 0.0)
    return tmp_path


def start() -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, '-c', PROGRAM], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert Path(process.stdout.readline().strip()).is_dir()
    return process


@pytest.mark.skipif(os.name == 'nt', reason='signals of POSIX')
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_left_after_a_signal(temporary, number):
    process = start()
    process.send_signal(number)
    process.wait(20)
    assert process.returncode == (128 + number if number != signal.SIGINT else -signal.SIGINT)
    assert list(temporary.iterdir()) == []


@pytest.mark.skipif(os.name == 'nt', reason='signals of POSIX')
def test_what_a_killed_process_left_is_swept_at_the_next_start_and_what_is_in_use_is_not(temporary):
    killed, alive = start(), start()
    killed.kill()
    killed.wait(20)
    (temporary / f'{PREFIX}older').mkdir()  # of a version without a lock
    (temporary / 'metaf2n_else').mkdir()
    (temporary / f'{PREFIX}link').symlink_to(temporary / 'metaf2n_else')
    assert len(list(temporary.iterdir())) == 5
    with place_for_files() as place:
        left = {path.name for path in temporary.iterdir()}
        assert len(left) == 4
        assert {place.name, 'metaf2n_else', f'{PREFIX}link'} < left
    alive.terminate()
    alive.wait(20)
    assert {path.name for path in temporary.iterdir()} == {'metaf2n_else', f'{PREFIX}link'}


def test_a_folder_that_was_made_this_moment_is_left_alone(temporary, monkeypatch):
    monkeypatch.setattr(keeping, '_NEW', 2.0)
    (temporary / f'{PREFIX}new').mkdir()
    sweep(temporary)
    assert (temporary / f'{PREFIX}new').exists()
    long_ago = time.time() - 60
    os.utime(temporary / f'{PREFIX}new', (long_ago, long_ago))
    sweep(temporary)
    assert list(temporary.iterdir()) == []


def test_an_error_leaves_nothing_and_temporary_files_lie_where_they_did(temporary):
    before = tempfile.gettempdir()
    with contextlib.suppress(ZeroDivisionError), place_for_files() as place:
        assert tempfile.gettempdir() == str(place)
        assert place.stat().st_mode & 0o077 == 0  # of this user alone
        raise ZeroDivisionError
    assert tempfile.gettempdir() == before
    assert list(temporary.iterdir()) == []


def test_each_visit_has_one_upload_and_one_result_until_it_is_cleared(tmp_path):
    sessions = Sessions(tmp_path / 'place')
    for visit in ('first', 'second'):
        (tmp_path / 'a.png').write_text(visit)
        sessions.take(visit, tmp_path / 'a.png')
        (sessions.results(visit) / 'result.png').write_text(visit)
    assert not (tmp_path / 'a.png').exists()
    assert sessions.upload('first').read_text() == 'first'
    again = sessions.results('first')
    assert list(again.iterdir()) == []
    (tmp_path / 'b.png').write_text('new')
    sessions.take('first', tmp_path / 'b.png')
    assert sessions.upload('first').name == 'b.png'
    assert not again.exists()
    sessions.forget('first')
    sessions.forget('nobody')
    assert sessions.upload('first') is None
    left = [path.read_text() for path in (tmp_path / 'place').rglob('*') if path.is_file()]
    assert left == ['second', 'second']


def test_results_that_come_when_their_visit_has_ended_do_not_stay(tmp_path):
    sessions = Sessions(tmp_path / 'place')
    late = sessions.results('first')
    sessions.forget('first')
    late.mkdir(parents=True)
    (late / 'result.png').write_text('late')
    sessions.settle('first', late)
    assert not late.parent.exists()
    kept = sessions.results('first')
    sessions.settle('first', kept)
    assert kept.exists()
