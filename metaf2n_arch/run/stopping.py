"""Signals that would end the program let the iteration finish, save, and leave; a second one leaves at once.

Beside SIGINT and SIGTERM these are SIGHUP (a terminal closes), SIGXCPU (the CPU time of a job is used up), SIGUSR1 and
SIGUSR2 (schedulers announce the end of a job by them), unless somebody handles or ignores them, as `nohup` does.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist

from metaf2n_arch.run import record
from metaf2n_arch.run.course import course

ALWAYS = (signal.SIGINT, signal.SIGTERM)
_ANNOUNCED = ('SIGHUP', 'SIGXCPU', 'SIGUSR1', 'SIGUSR2')
SIGNALS = (*ALWAYS, *(getattr(signal, name) for name in _ANNOUNCED if hasattr(signal, name)))
# torchrun passes on what its processes have already received from the terminal: within this time it is the same wish.
ECHO_SECONDS = 2.0

_asked: dict[str, float] = {}
_state = {'validating': False}


class ValidationCut(SystemExit):
    """A signal came while a single process validated: no weight moves there, so that nothing need be finished."""


@contextmanager
def cut_short() -> Iterator[None]:
    """Lets a signal end the block, in a single process; several would wait for the one that has left."""
    _state['validating'] = not (dist.is_available() and dist.is_initialized())
    try:
        yield
    except ValidationCut:
        _state['validating'] = False
    finally:
        _state['validating'] = False


def listen() -> None:
    """Installs the handlers; only the main thread may."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if number in ALWAYS or signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, _note)


def _note(number: int, frame: FrameType | None) -> None:
    if 'signal' in _asked:
        if dist.is_initialized() and time.monotonic() - _asked['time'] < ECHO_SECONDS:
            return
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return
    _asked.update(signal=number, time=time.monotonic())
    # os.write, because a handler may interrupt the very code that print or logging would enter again.
    text = f'{signal.Signals(number).name}: finishing the iteration, then saving. Press Ctrl-C again to quit now.\n'
    if os.environ.get('RANK', '0') == '0':
        os.write(2, text.encode())
    if _state['validating']:
        raise ValidationCut(128 + number)


def leave_if_asked(model: Any, next_iter: int) -> None:
    """Saves what has been trained and ends the program if a signal has asked for it, in all processes alike.

    Raises:
        SystemExit: with 128 plus the signal's number, as shells report it.
    """
    number = _agreed(model)
    if number:
        _leave(model, next_iter - 1, number)


def _agreed(model: Any) -> int:
    """The signal that any process has received, or 0; processes that stopped at different iterations would wait."""
    number = int(_asked.get('signal', 0))
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        box = torch.tensor([number], device=model.device)
        dist.all_reduce(box, op=dist.ReduceOp.MAX)
        number = int(box.item())
    return number


def _leave(model: Any, iteration: int, number: int) -> None:
    logger = logging.getLogger('basicsr')
    if course.saved != iteration:
        logger.info('Saving models and training states.')
        model.save(course.epoch, iteration)
    if course.checkpoints is not None:
        course.checkpoints.wait()
    if model.opt.get('rank', 0) == 0:
        record.note(iteration, ended=True)
    if course.tb_logger is not None:
        course.tb_logger.close()
    name = signal.Signals(number).name
    logger.warning(f'Stopped by {name} after iteration {iteration}, which is saved. --auto_resume continues from it.')
    _asked.clear()
    raise SystemExit(128 + number)


@contextmanager
def held() -> Iterator[None]:
    """Lets signals wait for the end of the block. Processes that start in it never have them delivered."""
    if not hasattr(signal, 'sigwaitinfo'):  # Windows, macOS: nobody could end such a process by a signal
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def outlast_signals(worker: int) -> None:
    """For data-loader workers: a terminal's Ctrl-C and a scheduler's SIGTERM reach them too, and training still needs
    them for a moment. They end when the training process says so, or is gone.
    """
    for number in SIGNALS:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None and hasattr(signal, 'sigwaitinfo'):  # else, as on macOS, nobody can tell who sent a signal
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with, args=(parent.pid,), daemon=True).start()


def _end_with(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
