"""Saving before an unexpected end: after an exception, a dead worker or `sys.exit` the training is saved first.

The last complete iteration is saved. The iteration that failed has drawn random numbers and changed the learning-rate
schedules and the buffers of networks (running statistics, vectors of spectral normalisation). All these are restored to
their values at its beginning. The weights have not changed as long as no optimizer has stepped. If one had (for example
the discriminator of a GAN fails after the generator's step), the log says that the resumed training repeats that step.
"""

from __future__ import annotations

import atexit
import io
import logging
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from metaf2n_arch.run.course import course
from metaf2n_arch.run.lock import release_folders
from metaf2n_arch.utils import random_state

logger = logging.getLogger('basicsr')
PATIENCE = timedelta(seconds=20)
"""How long rank 0 waits for the random states of the others, which must first notice that a process has gone."""

_state: dict[str, int] = {}
"""``process``: the one that trains or has trained."""


@dataclass
class Moment:
    """Values at the beginning of an iteration of what it changes before its first optimizer step.

    Attributes:
        place: position, see `run.course.Course.place`.
        schedules: states of the schedulers.
        rates: learning rates, by optimizer and parameter group.
        generators: states of the generators of Python, NumPy, torch and CUDA.
    """

    place: tuple[int, int] | None
    schedules: list[dict[str, Any]]
    rates: list[list[float]]
    generators: tuple[Any, ...]


@dataclass
class Watch:
    """Follows the training of a model, so that it can be saved at any time.

    Attributes:
        model: a model of BasicSR.
        begun: the last iteration that has begun.
        completed: the last complete iteration.
        steps: optimizer steps in the iteration that has begun.
        moment: values at its beginning.
        buffers: buffers of the networks.
        copies: copies of the buffers at its beginning.
        process: number of the process that trains.
    """

    model: Any
    begun: int = 0
    completed: int = 0
    steps: int = 0
    moment: Moment | None = None
    buffers: list[Tensor] = field(default_factory=list)
    copies: list[Tensor] = field(default_factory=list)
    process: int = field(default_factory=os.getpid)

    def start(self) -> None:
        """Collects the model's buffers, and hooks into its optimizers and the end of each iteration."""
        nets = [net for name, net in vars(self.model).items() if isinstance(net, nn.Module) and name.startswith('net_')]
        self.buffers = list({id(b): b for net in nets for b in net.buffers()}.values())
        self.copies = [torch.empty_like(b) for b in self.buffers]
        for optimizer in self.model.optimizers:
            if hasattr(optimizer, 'register_step_post_hook'):
                optimizer.register_step_post_hook(self._count)
        optimize: Callable[[int], None] = self.model.optimize_parameters

        def optimize_parameters(current_iter: int) -> None:
            optimize(current_iter)
            self.completed = current_iter

        self.model.optimize_parameters = optimize_parameters

    def begin_iteration(self, iteration: int) -> None:
        """Stores the values at the beginning of an iteration; takes some tens of microseconds."""
        self.begun, self.steps = iteration, 0
        self.completed = iteration - 1
        with torch.no_grad():
            if self.buffers:
                torch._foreach_copy_(self.copies, self.buffers)
        cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
        self.moment = Moment(
            course.place,
            [scheduler.state_dict() for scheduler in self.model.schedulers],
            [[group['lr'] for group in optimizer.param_groups] for optimizer in self.model.optimizers],
            (random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda),  # noqa: NPY002 - the global one
        )

    def _count(self, *_: Any) -> None:
        self.steps += 1

    def put_back(self) -> None:
        """Restores what an incomplete iteration has changed, except the weights."""
        if self.completed == self.begun or self.moment is None:
            return
        course.place = self.moment.place
        with torch.no_grad():
            for buffer, copy in zip(self.buffers, self.copies):
                buffer.copy_(copy)
        for scheduler, state in zip(self.model.schedulers, self.moment.schedules):
            scheduler.load_state_dict(state)
        for optimizer, rates in zip(self.model.optimizers, self.moment.rates):
            for group, rate in zip(optimizer.param_groups, rates):
                group['lr'] = rate
        python, numpy, torchs, cuda = self.moment.generators
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002 - the global one
        torch.set_rng_state(torchs)
        if cuda is not None:
            torch.cuda.set_rng_state(cuda)


def watch(model: Any) -> None:
    """Starts to follow the training of `model`, until its end."""
    course.watch = Watch(model)
    _state['process'] = course.watch.process
    course.watch.start()


def save_before_the_end(error: BaseException | None = None) -> None:
    """Saves the last complete iteration unless it is saved already. It raises nothing, because the program ends."""
    current, course.watch = course.watch, None
    if current is None or current.process != os.getpid():  # a forked process ends, not the training
        return
    try:
        _save(current, error)
    except BaseException as failure:
        logger.error(f'The training could not be saved before the end: {type(failure).__name__}: {failure}')


def _save(current: Watch, error: BaseException | None) -> None:
    saver, iteration = course.checkpoints, current.completed
    if iteration >= 1 and course.saved != iteration:
        current.put_back()
        course.random = None
        course.gathered = _generators_of_all(iteration, random_state.capture())
        if current.model.opt.get('rank', 0) != 0:
            return
        if saver is not None:
            saver.at_once()
        current.model.save(course.epoch, iteration)
        name = 'The program ends' if error is None else type(error).__name__
        logger.warning(f'{name}: iteration {iteration} is saved; --auto_resume continues from it.')
        if current.steps and current.completed != current.begun:
            logger.warning(
                f'An optimizer had stepped in iteration {current.begun} before it failed. Resuming repeats that step, '
                'so the result is not bitwise equal to that of an uninterrupted training.'
            )
    elif saver is not None:
        saver.at_once()
    if course.tb_logger is not None:
        course.tb_logger.close()


def _generators_of_all(iteration: int, mine: dict[str, Any]) -> list[dict[str, Any]] | None:
    """For rank 0, the states of the random generators of all processes, or its own if the others do not answer in time.

    None in the other ranks, and if there is a single process.

    A collective call would not return, because the others wait in one for the process that failed. With gloo their call
    fails when this process leaves the group, so that they come here too. Each process puts its state into the group's
    key-value store, and rank 0 reads them.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return None
    rank, size = dist.get_rank(), dist.get_world_size()
    store = dist.distributed_c10d._get_default_store()
    keys = [f'metaf2n/generators/{iteration}/{r}' for r in range(size)]
    written = io.BytesIO()
    torch.save(mine, written)
    store.set(keys[rank], written.getvalue())  # type: ignore[arg-type]  # a std::string, which accepts bytes
    if dist.get_backend() == 'gloo':
        dist.destroy_process_group()
    if rank != 0:
        return None
    try:
        store.wait(keys, PATIENCE)
    except RuntimeError:
        return [mine]
    return [torch.load(io.BytesIO(store.get(key)), weights_only=True) for key in keys]


def at_exit() -> None:
    """Saves and releases at the exit of the interpreter; `sys.exit` during training reaches no exception hook."""
    save_before_the_end()
    release_folders()
    # gloo has threads. If the interpreter ends before them, the process aborts ("terminate called without an active
    # exception"), and a launcher takes the training for a failed one.
    if (
        _state.get('process') == os.getpid()
        and dist.is_available()
        and dist.is_initialized()
        and dist.get_backend() == 'gloo'
    ):
        dist.destroy_process_group()


atexit.register(at_exit)
