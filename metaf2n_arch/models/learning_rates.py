"""Learning-rate schedules by the name of their class: BasicSR's, all of torch's, and compositions of these.

BasicSR has two schedules. Its warm-up overwrites the learning rates of the optimizer. Most schedules of torch compute
the next rate from the present one, so they would continue from a rate of the warm-up. So a `Schedule` keeps its own
rates.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch.optim import Optimizer, lr_scheduler

from metaf2n_arch.models.evaluation import better_of
from metaf2n_arch.utils.checks import OptionError, nearest

COMPOSED = ('SequentialLR', 'ChainedScheduler')
PLATEAU = 'ReduceLROnPlateau'
OF_HOST = {
    'MultiStepLR': 'MultiStepRestartLR',
    'MultiStepRestartLR': 'MultiStepRestartLR',
    'CosineAnnealingRestartLR': 'CosineAnnealingRestartLR',
}
"""Names that mean BasicSR's classes, outside compositions: name in the option file -> class."""

Options = Mapping[str, Any]


def scheduler_class(name: object, where: str, alone: bool = True) -> type[Any]:
    """Returns the class of a schedule.

    Args:
        name: name of a class of BasicSR or of ``torch.optim.lr_scheduler``.
        where: key path, for the message.
        alone: whether it is outside a composition; only there BasicSR's classes are allowed.

    Raises:
        OptionError: there is no such class (the message gives the nearest name), or it needs a function.
    """
    from basicsr.models import lr_scheduler as of_host

    classes = {n: c for n, c in vars(lr_scheduler).items() if inspect.isclass(c) and not n.startswith('_')}
    known = {n: c for n, c in classes.items() if n == PLATEAU or issubclass(c, lr_scheduler.LRScheduler)}
    known.pop('LRScheduler', None)
    if alone:
        known.update({n: getattr(of_host, c) for n, c in OF_HOST.items() if hasattr(of_host, c)})
    if not isinstance(name, str) or name not in known:
        raise OptionError(f'{where} is {name!r}, expected one of {sorted(known)}.{nearest(str(name), known)}')
    if 'lr_lambda' in inspect.signature(known[name]).parameters:
        raise OptionError(
            f'{where} is {name!r}, which takes a function; an option file cannot hold one. Use another schedule.'
        )
    return known[name]


def parts(options: Options, where: str, alone: bool = True) -> Iterator[tuple[type[Any], dict[str, Any], str]]:
    """Yields (class, options, key path) of a schedule and of all its parts.

    Raises:
        OptionError: a name is unknown, or a composition has no list ``schedulers``.
    """
    own = {key: value for key, value in options.items() if key != 'metric' or options.get('type') != PLATEAU}
    kind = scheduler_class(options.get('type'), f'{where}.type', alone)
    yield kind, own, where
    if options['type'] not in COMPOSED:
        if options['type'] == PLATEAU and not alone:
            raise OptionError(
                f'{where}: {PLATEAU} waits for validations and cannot be part of another schedule; use it alone.'
            )
        return
    entries = options.get('schedulers')
    if not isinstance(entries, list) or not entries or not all(isinstance(e, Mapping) for e in entries):
        raise OptionError(f'{where}.schedulers is {entries!r}, expected a list of blocks, each with a type.')
    for number, entry in enumerate(entries):
        yield from parts(entry, f'{where}.schedulers.{number}', alone=False)


def build_schedulers(train: Options, optimizers: Sequence[Optimizer], metrics: Options | None = None) -> list[Any]:
    """Builds ``train.scheduler`` for each optimizer; without that block returns no schedules (constant rates).

    Args:
        train: the block ``train``.
        optimizers: each gets its own schedule.
        metrics: the block ``val.metrics``; ``ReduceLROnPlateau`` follows one of them.

    Raises:
        OptionError: a wrong name or argument.
    """
    options = train.get('scheduler')
    if options is None:
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group.setdefault('initial_lr', group['lr'])  # the rate at the end of BasicSR's warm-up
        return []
    where = 'train.scheduler'
    list(parts(options, where))
    if options['type'] in OF_HOST:
        return [_built(options, optimizer, where) for optimizer in optimizers]
    schedules = [Schedule(options, optimizer, where, metrics or {}) for optimizer in optimizers]
    longest = getattr(schedules[0].inner, 'total_steps', None)  # OneCycleLR fails after these steps
    if longest is not None and longest < train.get('total_iter', 0):
        raise OptionError(
            f'{where}: {options["type"]} has {longest} steps and total_iter is {train["total_iter"]}; '
            f'give total_steps: {train["total_iter"]}.'
        )
    return schedules


def _built(options: Options, optimizer: Optimizer, where: str, alone: bool = True) -> Any:
    arguments = {key: value for key, value in options.items() if key not in ('type', 'metric')}
    kind = scheduler_class(options['type'], f'{where}.type', alone)
    if options['type'] in COMPOSED:
        entries = arguments.pop('schedulers')
        arguments['schedulers'] = [
            _built(entry, optimizer, f'{where}.schedulers.{n}', alone=False) for n, entry in enumerate(entries)
        ]
    try:
        if options['type'] == 'ChainedScheduler':
            return kind(arguments['schedulers'])
        return kind(optimizer, **arguments)
    except (TypeError, ValueError, KeyError) as error:
        raise OptionError(f'{where}: {options["type"]} rejects these options: {error}.') from None


class Schedule:
    """A schedule of torch with its own copy of the rates, which the warm-up does not change.

    Iteration t uses the value of the schedule at t - 1, counted from 0, as with BasicSR's schedules. While
    t < ``warmup_iter``, BasicSR replaces it by the first rate times t / ``warmup_iter``.

    Args:
        options: ``{type: ..., ...}``. A composition also has ``schedulers``. ``ReduceLROnPlateau`` also has ``metric``,
            one of ``val.metrics``; its ``mode`` is set by what is better for that metric.
        optimizer: the optimizer whose rates are set.
        where: key path, for messages.
        metrics: the block ``val.metrics``.

    Attributes:
        kind: name of the class in torch.
    """

    def __init__(self, options: Options, optimizer: Optimizer, where: str, metrics: Options | None = None) -> None:
        self.kind = str(options['type'])
        self.options = dict(options)
        self.optimizer = optimizer
        self.metric: str | None = None
        if self.kind == PLATEAU:
            self.metric = _metric(options, where, metrics or {})
            better = better_of((metrics or {})[self.metric])
            options = {'mode': 'max' if better == 'higher' else 'min', **options}
        with _silent():
            self.inner = _built(options, optimizer, where)
        for group in optimizer.param_groups:
            group.setdefault('initial_lr', group['lr'])
        self._rates = self._now()
        self._seen: tuple[str | None, int] = (None, 0)  # (the data set that is followed, iteration of its last value)

    def _now(self) -> list[float]:
        return [float(group['lr']) for group in self.optimizer.param_groups]

    def step(self) -> None:
        """Advances by one iteration."""
        self._take(lambda: None if self.metric is not None else self.inner.step())

    def observe(self, data_set: str, values: Mapping[str, float], iteration: int) -> None:
        """Gives the result of a validation to ``ReduceLROnPlateau``.

        Only the first data set that has the metric is used, and only the first validation of an iteration; the last
        iteration is validated twice.
        """
        value = values.get(self.metric or '', math.nan)
        if math.isnan(value) or self._seen[0] not in (None, data_set) or iteration <= self._seen[1]:
            return
        self._seen = (data_set, iteration)
        self._take(lambda: self.inner.step(value))

    def _take(self, step: Callable[[], object]) -> None:
        for group, rate in zip(self.optimizer.param_groups, self._rates):
            group['lr'] = rate
        with _silent():
            step()
        self._rates = self._now()

    def state_dict(self) -> dict[str, Any]:
        return {
            'options': self.options,
            '_inner': self.inner.state_dict(),
            '_rates': self._rates,
            '_seen': self._seen,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.inner.load_state_dict(dict(state['_inner']))
        self._rates, self._seen = list(state['_rates']), state['_seen']


def _metric(options: Options, where: str, metrics: Options) -> str:
    name = options.get('metric')
    if name not in metrics:
        raise OptionError(
            f'{where}.metric is {name!r}, expected one of val.metrics ({", ".join(metrics) or "none is given"}), '
            f'which {PLATEAU} follows.{nearest(str(name), metrics)}'
        )
    return str(name)


@contextmanager
def _silent() -> Iterator[None]:
    """Hides torch's warnings of schedules that step before the optimizer, which accumulated gradients cause."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield
