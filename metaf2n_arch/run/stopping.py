"""Signals: the first one finishes the iteration, saves and ends the program; a second one ends it at once.

The signals are SIGINT and SIGTERM, and also SIGHUP (a terminal closes), SIGXCPU (the CPU time of a job is used up),
SIGUSR1 and SIGUSR2 (schedulers announce the end of a job), unless they are already handled or ignored, as `nohup` does.
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
from torch import nn

from metaf2n_arch.run import record
from metaf2n_arch.run.course import course

ALWAYS = (signal.SIGINT, signal.SIGTERM)
_ANNOUNCED = ('SIGHUP', 'SIGXCPU', 'SIGUSR1', 'SIGUSR2')
SIGNALS = (*ALWAYS, *(getattr(signal, name) for name in _ANNOUNCED if hasattr(signal, name)))
# torchrun forwards a signal that its processes have already received from the terminal: a second signal within this
# time is the same one.
ECHO_SECONDS = 2.0

_asked: dict[str, float] = {}
_state = {'validating': False, 'process': 0}  # `process`: the one that listens
_before: dict[int, Any] = {}
"""The handlers that `listen` has replaced, by signal."""


class ValidationCut(SystemExit):
    """A signal during the validation of a single process; it changes no weights, so it need not be finished."""


@contextmanager
def cut_short(model: Any) -> Iterator[None]:
    """Lets a signal end the block, if there is a single process; several would wait for the one that left.

    A signal can interrupt `torch.func.functional_call` while a network holds other tensors than its own, such as those
    of an adaptation, or while it gets its own back. So the networks of `model` get back the tensors they came with.
    """
    networks = [part for part in vars(model).values() if isinstance(part, nn.Module)]
    own: list[tuple[Any, dict[str, Any]]] = [
        (tensors, dict(tensors))
        for net in networks
        for part in net.modules()
        for tensors in (part._parameters, part._buffers)
    ]
    try:
        _state['validating'] = not (dist.is_available() and dist.is_initialized())
        yield
    except ValidationCut:
        _state['validating'] = False
        for tensors, before in own:
            tensors.clear()
            tensors.update(before)
    finally:
        _state['validating'] = False


def listen() -> None:
    """Installs the signal handlers; does nothing outside the main thread, where Python forbids it."""
    if threading.current_thread() is threading.main_thread():
        _state['process'] = os.getpid()
        for number in SIGNALS:
            before = signal.getsignal(number)
            if before is not _note and (number in ALWAYS or before == signal.SIG_DFL):
                _before[number] = before
                signal.signal(number, _note)


def _note(number: int, frame: FrameType | None) -> None:
    if os.getpid() != _state['process']:  # forked from the training, such as a process of a pool: it saves nothing
        signal.signal(number, _before.get(number) or signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return
    if 'signal' in _asked:
        if dist.is_initialized() and time.monotonic() - _asked['time'] < ECHO_SECONDS:
            return
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return
    _asked.update(signal=number, time=time.monotonic())
    # os.write: a handler may interrupt print or logging, which must not be entered twice.
    text = f'{signal.Signals(number).name}: finishing the iteration, then saving. Press Ctrl-C again to quit now.\n'
    if os.environ.get('RANK', '0') == '0':
        os.write(2, text.encode())
    if _state['validating']:
        raise ValidationCut(128 + number)


def leave_if_asked(model: Any, next_iter: int) -> None:
    """Saves the training and ends the program if any process has received a signal.

    Raises:
        SystemExit: with the exit code 128 + number of the signal, as shells report it.
    """
    number = _agreed(model)
    if number:
        _leave(model, next_iter - 1, number)


def _agreed(model: Any) -> int:
    """The signal that any process has received, or 0. All processes must stop at the same iteration."""
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
    """Blocks the signals until the end of the block. Processes that start in the block keep them blocked."""
    if not hasattr(signal, 'sigwaitinfo'):  # Windows, macOS: no signal could end such a process
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def outlast_signals(worker: int) -> None:
    """Makes a data-loader worker ignore signals; call it in the worker.

    Ctrl-C in a terminal and SIGTERM of a scheduler reach the workers too, while the training process still needs them.
    A worker ends when the training process sends it a SIGTERM, or has ended.
    """
    for number in SIGNALS:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None and hasattr(signal, 'sigwaitinfo'):  # macOS: the sender of a signal is unknown
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with, args=(parent.pid,), daemon=True).start()


def _end_with(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
