"""One writer at a time: a second one is told who the first is, and a dead one stands in nobody's way."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from metaf2n_arch.run import identity, lock
from metaf2n_arch.run.lock import FolderLock, Writer
from metaf2n_arch.utils.checks import DataError

HOLD = """
import sys, time
from pathlib import Path
from metaf2n_arch.run.lock import FolderLock
FolderLock(Path(sys.argv[1])).acquire()
print('held', flush=True)
time.sleep(60)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock on `folder`."""
    process = subprocess.Popen([sys.executable, '-c', HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == 'held\n'
    return process


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / 'experiments' / 'small'


def record(folder: Path) -> Path:
    return folder.with_name('.small.lock')


def test_a_second_writer_is_told_the_process_that_writes(folder):
    process = holder(folder)
    try:
        with pytest.raises(
            DataError, match=rf'another run \(process {process.pid} on {identity.host()}, since \d'
        ) as e:
            FolderLock(folder).acquire()
        assert '\n' not in str(e.value)
    finally:
        process.kill()
        process.wait()


def test_the_lock_of_a_killed_writer_is_taken_over_and_said(folder):
    process = holder(folder)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert record(folder).exists()
    said: list[str] = []
    mine = FolderLock(folder)
    mine.acquire(said.append)
    assert re.search(rf'took over the lock of a run that has ended \(process {process.pid} on', said[0])
    assert json.loads(record(folder).read_text())['pid'] == os.getpid()
    mine.release()


def test_nothing_stays_of_a_released_lock(folder):
    mine = FolderLock(folder)
    mine.acquire()
    assert record(folder).exists()
    mine.release()
    assert not folder.parent.exists(), 'made for the lock alone'
    folder.mkdir(parents=True)
    mine.acquire()
    mine.release()
    assert list(folder.parent.iterdir()) == [folder]


def test_the_folder_may_be_moved_away_under_the_lock(folder):
    folder.mkdir(parents=True)
    process = holder(folder)
    folder.rename(folder.with_name('archived'))
    try:
        with pytest.raises(DataError, match=str(process.pid)):
            FolderLock(folder).acquire()
    finally:
        process.kill()
        process.wait()


def test_a_fork_of_the_holder_neither_holds_nor_releases(folder):
    """As data-loader workers are that outlive their parent for a moment."""
    code = HOLD.replace(
        "print('held', flush=True)",
        "import os\nif os.fork() == 0:\n    time.sleep(60)\nprint('held', flush=True)",
    )
    process = subprocess.Popen(
        [sys.executable, '-c', code, str(folder)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == 'held\n'
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        mine = FolderLock(folder)
        mine.acquire()
        mine.release()
    finally:
        os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize('alive', [True, False])
def test_a_writer_on_another_machine_counts_while_it_renews_its_lock(folder, alive, monkeypatch):
    monkeypatch.setattr(lock, 'PATIENCE', 1.0)
    folder.parent.mkdir(parents=True)
    other = Writer('elsewhere', 'another boot', 7, '1', '2026-01-01 00:00:00')
    record(folder).write_text(json.dumps(vars(other)))
    end = threading.Event()

    def renew():
        while not end.wait(0.1):
            os.utime(record(folder))

    thread = threading.Thread(target=renew)
    if alive:
        thread.start()
    said: list[str] = []
    mine = FolderLock(folder)
    try:
        if alive:
            with pytest.raises(DataError, match=r'another run \(process 7 on elsewhere, since 2026-01-01'):
                mine.acquire(said.append)
        else:
            mine.acquire(said.append)
            mine.release()
            assert 'took over' in said[1]
        assert 'waiting 1 s to see whether it still does' in said[0]
    finally:
        end.set()
        if alive:
            thread.join()


@pytest.mark.parametrize('started', ['the same', 'another'])
def test_without_locks_of_the_system_the_number_and_the_start_of_the_process_decide(folder, started, monkeypatch):
    """The number alone may have been given to another process since."""
    monkeypatch.setattr(lock, '_system_lock', lambda descriptor: None)
    sleeper = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
    try:
        start = identity.started(sleeper.pid) if started == 'the same' else '12345'
        writer = Writer(identity.host(), identity.boot(), sleeper.pid, start or '', 'then')
        folder.parent.mkdir(parents=True)
        record(folder).write_text(json.dumps(vars(writer)))
        mine = FolderLock(folder)
        if started == 'the same':
            with pytest.raises(DataError, match='another run'):
                mine.acquire()
        else:
            mine.acquire()
            mine.release()
    finally:
        sleeper.kill()
        sleeper.wait()
    assert identity.started(sleeper.pid) is None


def test_the_holder_renews_the_time_of_its_lock(folder, monkeypatch):
    monkeypatch.setattr(lock, 'RENEWAL', 0.05)
    mine = FolderLock(folder)
    mine.acquire()
    first = os.stat(record(folder)).st_mtime_ns
    deadline = time.monotonic() + 10
    while os.stat(record(folder)).st_mtime_ns == first:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    mine.release()


def test_of_many_that_come_at_once_one_writes(folder):
    code = (
        'import sys, time\nfrom pathlib import Path\nfrom metaf2n_arch.run.lock import FolderLock\n'
        'from metaf2n_arch.utils.checks import DataError\n'
        'lock = FolderLock(Path(sys.argv[1]))\n'
        'time.sleep(max(0, float(sys.argv[2]) - time.time()))\n'
        'try:\n    lock.acquire()\nexcept DataError:\n    print("refused")\n'
        'else:\n    print("holds")\n    time.sleep(1.5)\n    lock.release()\n'
    )
    at = str(time.time() + 1.5)
    run = [
        subprocess.Popen([sys.executable, '-c', code, str(folder), at], stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    said = sorted(process.communicate(timeout=60)[0].strip() for process in run)
    assert said == ['holds', *['refused'] * 5]
