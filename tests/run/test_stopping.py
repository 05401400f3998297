"""Signals: each that ends a job saves first, and those that somebody else handles or ignores stay theirs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from metaf2n_arch.run import stopping


class Model:
    """Remembers what it was asked to save."""

    opt: dict[str, int] = {'rank': 1}

    def __init__(self) -> None:
        self.saved: list[tuple[int, int]] = []

    def save(self, epoch: int, iteration: int) -> None:
        self.saved.append((epoch, iteration))


@pytest.fixture
def listening(monkeypatch):
    """The handlers of a run, and those from before afterwards; a run that has saved nothing yet."""
    before = {number: signal.getsignal(number) for number in stopping.SIGNALS}
    course = SimpleNamespace(saved=None, epoch=3, checkpoints=None, tb_logger=None)
    monkeypatch.setattr(stopping, 'course', course)
    yield course
    for number, handler in before.items():
        signal.signal(number, handler)
    stopping._asked.clear()


def name_of(number: int) -> str:
    return signal.Signals(number).name


@pytest.mark.parametrize('number', stopping.SIGNALS, ids=name_of)
def test_each_signal_lets_the_iteration_finish_saves_and_leaves_with_its_number(listening, number, capfd):
    if number not in stopping.ALWAYS:
        signal.signal(number, signal.SIG_DFL)
    stopping.listen()
    model = Model()
    stopping.leave_if_asked(model, 6)
    assert model.saved == []
    os.kill(os.getpid(), number)
    assert f'{name_of(number)}: finishing the iteration, then saving. Press Ctrl-C again' in capfd.readouterr().err
    with pytest.raises(SystemExit) as end:
        stopping.leave_if_asked(model, 7)
    assert end.value.code == 128 + number
    assert model.saved == [(3, 6)]


def test_these_are_the_signals_by_which_jobs_are_ended():
    named = {name_of(number) for number in stopping.SIGNALS}
    assert named == {'SIGINT', 'SIGTERM', 'SIGHUP', 'SIGXCPU', 'SIGUSR1', 'SIGUSR2'}


def test_what_is_saved_already_is_not_saved_again(listening):
    listening.saved = 6
    stopping.listen()
    model = Model()
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(SystemExit):
        stopping.leave_if_asked(model, 7)
    assert model.saved == []


@pytest.mark.parametrize('number', [n for n in stopping.SIGNALS if n not in stopping.ALWAYS], ids=name_of)
def test_a_signal_that_somebody_ignores_or_handles_stays_theirs(listening, number):
    """`nohup` ignores SIGHUP; torchrun and debuggers use SIGUSR1 and SIGUSR2."""
    got = []
    for handler in (signal.SIG_IGN, lambda *_: got.append(number)):
        signal.signal(number, handler)
        stopping.listen()
        assert signal.getsignal(number) is handler
        os.kill(os.getpid(), number)
        stopping.leave_if_asked(SimpleNamespace(), 7)
    assert got == [number]


@pytest.mark.skipif('fork' not in multiprocessing.get_all_start_methods(), reason='needs fork')
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1], ids=name_of)
def test_a_process_that_is_forked_from_a_training_ends_as_without_us(listening, number):
    """`Pool.terminate` waits for its processes: one that only took note of SIGTERM would wait for ever."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell runs in its background
    stopping.listen()
    context = multiprocessing.get_context('fork')
    begun = context.Event()
    child = context.Process(target=lambda: (begun.set(), time.sleep(60)))
    child.start()
    assert begun.wait(20)  # Python drops a signal that comes in the middle of a fork
    os.kill(child.pid, number)
    child.join(20)
    assert child.exitcode == (
        1 if number == signal.SIGINT else -number
    )  # Python's own handler raises KeyboardInterrupt
    assert 'signal' not in stopping._asked


def test_a_signal_at_any_line_of_an_adapted_pass_leaves_the_networks_their_own_tensors(listening):
    """Each line that torch runs while it lends a network other weights is interrupted once, as a signal would do it."""
    model = SimpleNamespace(net=nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).eval())
    own = {**dict(model.net.named_parameters()), **dict(model.net.named_buffers())}
    other = {name: torch.ones_like(tensor) for name, tensor in own.items()}
    files = torch.func.functional_call.__code__.co_filename, torch.nn.utils.stateless.__file__
    harmed = 0

    def interrupted(line: int) -> bool:
        """Whether the pass has so many lines."""
        passed = 0

        def trace(frame, event, _):
            nonlocal passed
            if not frame.f_code.co_filename.endswith(('_named_member_accessor.py', *files)):
                return None
            passed += event == 'line'
            if event == 'line' and passed == line:
                raise stopping.ValidationCut(143)
            return trace

        sys.settrace(trace)
        try:
            torch.func.functional_call(model.net, other, torch.ones(1, 2))
        finally:
            sys.settrace(None)
        return passed >= line

    line, more = 1, True
    while more:
        more = False
        with stopping.cut_short(model):
            try:
                more = interrupted(line)
            except stopping.ValidationCut:
                more = True
                now = {**dict(model.net.named_parameters()), **dict(model.net.named_buffers())}
                harmed += any(now.get(name) is not tensor for name, tensor in own.items())
                raise
        now = {**dict(model.net.named_parameters()), **dict(model.net.named_buffers())}
        assert list(now) == list(own), line
        assert all(now[name] is tensor for name, tensor in own.items()), line
        line += 1
    assert harmed, 'no line was one at which the network had other tensors, so nothing was tested'
