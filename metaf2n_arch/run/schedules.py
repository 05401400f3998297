"""Optimizers and schedulers of a resumed training: changed options take precedence over the state, and are logged."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from itertools import zip_longest
from typing import Any

from metaf2n_arch.models.optimizers import own_options
from metaf2n_arch.utils.checks import DataError

Group = dict[str, Any]
StepSchedule = Callable[[Any, int, int], None]
"""Called with (model, iteration, warm-up iterations); sets the learning rates."""


def load_optimizers(model: Any, state: dict[str, Any], step_schedule: StepSchedule) -> set[int]:
    """Loads optimizers and schedulers; if the option file has changed, its learning rate and schedule are used.

    With unchanged options everything is taken from the state. Otherwise the optimizers keep their moments, unless their
    type has changed, and the schedule of the option file is run from iteration 0 to the state's iteration, as if it had
    been used from the beginning.

    Returns:
        Indices of the optimizers that were loaded from the state.

    Raises:
        DataError: the state belongs to a training with other optimizers.
    """
    if len(state['optimizers']) != len(model.optimizers):
        raise DataError(
            f'the state has {len(state["optimizers"])} optimizers and the options make {len(model.optimizers)}; '
            'resume with the losses and networks that the run began with.'
        )
    given = [[_without_params(group) for group in optimizer.param_groups] for optimizer in model.optimizers]
    changes = _changes(model, given, state)
    types = _recorded(model, state)['optimizers']
    kept = {n for n, optimizer in enumerate(model.optimizers) if type(optimizer).__name__ == types[n]}
    for number in kept:
        try:
            model.optimizers[number].load_state_dict(state['optimizers'][number])
        except ValueError as error:
            raise DataError(f'the state does not fit the options: {error}.') from None
    if not changes:
        for scheduler, saved in zip(model.schedulers, state['schedulers']):
            scheduler.load_state_dict(saved)
        return kept
    for optimizer, groups in zip(model.optimizers, given):
        for group, wanted in zip(optimizer.param_groups, groups):
            own = {*own_options(type(optimizer)), 'initial_lr'}
            group.update({key: wanted[key] for key in wanted.keys() & own})
    _run_schedule(model, state['iter'], step_schedule)
    _log(changes)
    return kept


def kinds(model: Any) -> dict[str, list[str]]:
    """Returns the types of a model's optimizers and schedulers. BasicSR's states do not hold them."""
    return {
        'optimizers': [type(optimizer).__name__ for optimizer in model.optimizers],
        'schedulers': [getattr(scheduler, 'kind', type(scheduler).__name__) for scheduler in model.schedulers],
    }


def _recorded(model: Any, state: dict[str, Any]) -> dict[str, list[str]]:
    """The types in a state; a state of BasicSR has none, then those of the model are assumed."""
    return state.get('kinds') or kinds(model)


def _without_params(group: Group) -> Group:
    return deepcopy({key: value for key, value in group.items() if key != 'params'})


def _changes(model: Any, given: list[list[Group]], state: dict[str, Any]) -> list[str]:
    """One line per value that differs between the option file and the state."""
    # BasicSR names an optimizer after its block: optim_g makes optimizer_g.
    names = {id(value): key.replace('optimizer', 'optim') for key, value in vars(model).items()}
    lines: dict[str, None] = {}
    now, then = kinds(model), _recorded(model, state)
    for optimizer, kind, recorded in zip(model.optimizers, now['optimizers'], then['optimizers']):
        lines.update(_difference(f'train.{names.get(id(optimizer), "optim")}.type', kind, recorded))
    for kind, recorded in zip_longest(now['schedulers'], then['schedulers']):
        lines.update(_difference('train.scheduler.type', kind, recorded))
    for optimizer, groups, saved in zip(model.optimizers, given, state['optimizers']):
        place = f'train.{names.get(id(optimizer), "optim")}'
        for group, old in zip(groups, saved['param_groups']):
            # OneCycleLR and CyclicLR change these, and store their first values in max_momentum.
            moved = {'lr', 'momentum', 'betas'} if 'max_momentum' in group else {'lr'}
            own = {*own_options(type(optimizer)), 'initial_lr'}
            for key in (group.keys() & old.keys() & own) - moved:
                shown = 'lr' if key == 'initial_lr' else key
                lines.update(_difference(f'{place}.{shown}', group[key], old[key]))
    for scheduler, old in zip(model.schedulers, state['schedulers']):
        new = {key: value for key, value in scheduler.state_dict().items() if not key.startswith('_')}
        for key in new.keys() & old.keys() - {'last_epoch', 'base_lrs', 'verbose'}:
            lines.update(_difference(f'train.scheduler.{key}', new[key], old[key]))
    return sorted(lines)


def _difference(place: str, new: Any, old: Any) -> dict[str, None]:
    new, old = _plain(new), _plain(old)
    if new == old:
        return {}
    return {f'{place} is {new} in the option file and {old} in the state': None}


def _plain(value: Any) -> Any:
    if isinstance(value, Counter):
        return sorted(value.elements())
    return list(value) if isinstance(value, tuple) else value


def _run_schedule(model: Any, iterations: int, step: StepSchedule) -> None:
    """Runs the schedule, warm-up included, over its first `iterations`, with BasicSR's own function."""
    warmup = model.opt['train'].get('warmup_iter', -1)
    with warnings.catch_warnings():
        # No optimizer has stepped in this process yet, which is intended here.
        warnings.filterwarnings('ignore', 'Detected call of `lr_scheduler.step')
        for iteration in range(1, iterations + 1):
            step(model, iteration, warmup)


def _log(changes: list[str]) -> None:
    lines = '\n\t'.join(changes)
    logging.getLogger('basicsr').warning(
        f'Resuming with changed options; those of the option file are used from here on:\n\t{lines}'
    )
