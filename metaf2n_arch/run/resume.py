"""Resuming: the content of a training state, the choice of a state, and an exact continuation from it.

Seen with BasicSR 1.4.2: `load_resume_state` calls CUDA, so that no run resumes on a CPU. `--auto_resume` looks in the
working directory, even if the run was written elsewhere; then it archives the run and starts at 0. States are unpickled
without restriction. If the newest state is truncated, no attempt to resume works. `check_resume` expects a checkpoint
of every network, also of frozen ones, which are never saved. A state holds epoch, iteration, optimizers and schedulers
only: a resumed epoch starts again with other random numbers, and the best metrics are lost.

Here states are read on the CPU, and nothing in them is executed. `--auto_resume` falls back to the newest complete
checkpoint and says so. A state also holds the position in the epoch, the random generators of every process, the best
metrics, and what a model of this package adds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from metaf2n_arch.models.optimizers import back_to, switches, training_point
from metaf2n_arch.run import made_with
from metaf2n_arch.run.checkpoint_sets import SetFolders, check_set
from metaf2n_arch.run.course import course
from metaf2n_arch.run.sampling import start_at
from metaf2n_arch.run.schedules import kinds, load_optimizers
from metaf2n_arch.utils import random_state
from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.weights.files import read_checkpoint

logger = logging.getLogger('basicsr')


def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the state to resume from, or None; writes the paths of its networks into the options.

    Raises:
        DataError: the state or a network is missing or damaged, see `newest_complete_state`.
    """
    if opt['auto_resume']:
        state = newest_complete_state(opt)
    else:
        path = opt['path'].get('resume_state')
        state = _named_state(opt, Path(path)) if path else None
    course.resumed = (0, 0) if state is None else (state['epoch'], state['iter'])
    if state is not None:
        point_to_networks(opt, state['iter'])
    return state


def load_as_the_host(opt: dict[str, Any]) -> dict[str, Any] | None:
    """Does the same as `load_resume_state` of BasicSR, on a machine without CUDA."""
    from basicsr.utils import check_resume

    if opt['auto_resume']:
        folder = Path('experiments') / opt['name'] / 'training_states'
        found = [float(file.name.split('.state')[0]) for file in folder.glob('*.state')] if folder.is_dir() else []
        if found:
            opt['path']['resume_state'] = str(folder / f'{max(found):.0f}.state')
        path = opt['path'].get('resume_state') if found else None
    else:
        path = opt['path'].get('resume_state')
    if not path:
        return None
    state = torch.load(path, map_location='cpu')
    check_resume(opt, state['iter'])
    return state


def read_state(path: Path) -> dict[str, Any]:
    """Returns a training state.

    Raises:
        DataError: the file is not a training state, or that of another iteration; the message names it.
    """
    state = read_checkpoint(path)
    if not isinstance(state, dict) or not {'epoch', 'iter', 'optimizers', 'schedulers'} <= state.keys():
        raise DataError(f'{path}: is not a training state; give a .state file from the folder training_states.')
    if path.stem.isdecimal() and int(path.stem) != state['iter']:
        raise DataError(f'{path}: holds the state of iteration {state["iter"]}; put the original file there.')
    return state


def newest_complete_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the newest state that is complete, with its networks; prints a line for each newer one that is not.

    Raises:
        DataError: there are states, but none is complete. A start at 0 would move them away.
    """
    folders = SetFolders.of(opt['path'])
    found = folders.iterations()
    for iteration in found:
        path = folders.states / f'{iteration}.state'
        try:
            state = _checked_state(opt, folders, path)
        except DataError as error:
            print(f'Checkpoint skipped: {error}', flush=True)
            continue
        opt['path']['resume_state'] = str(path)
        return state
    if found:
        raise DataError(
            f'{folders.states}: none of its {len(found)} training states can be used; move the folder away to start '
            'at 0.'
        )
    return None


def _named_state(opt: dict[str, Any], path: Path) -> dict[str, Any]:
    """Returns the state that ``path.resume_state`` names, which may be in the folder of another run."""
    folders = SetFolders(Path(opt['path']['models']), path.parent)
    missing = [n for n in needed_networks(opt, path.stem) if not (folders.models / n).is_file()]
    if missing or not path.stem.isdecimal():
        return read_state(path)  # `point_to_networks` says what is missing
    return _checked_state(opt, folders, path)


def _checked_state(opt: dict[str, Any], folders: SetFolders, path: Path) -> dict[str, Any]:
    """Returns a state after every file of its set has been checked."""
    networks = needed_networks(opt, path.stem)
    state = read_state(path)
    course.manifest = check_set(folders, int(path.stem), networks)
    if course.manifest is None:
        for name in networks:
            read_checkpoint(folders.models / name)
        print(
            f'{path}: has no manifest, like checkpoints of older versions and of BasicSR alone; '
            'only the checksums inside its files were checked.',
            flush=True,
        )
    return state


def needed_networks(opt: dict[str, Any], iteration: str) -> list[str]:
    """Returns the names of the network files that the run needs to resume from an iteration."""
    ignored = opt['path'].get('ignore_resume_networks') or []
    networks = [n.removeprefix('network_') for n in _saved_networks(opt) if n not in ignored]
    return [f'net_{label}_{iteration}.pth' for label in networks]


def point_to_networks(opt: dict[str, Any], iteration: int) -> None:
    """Sets `path.pretrain_network_*` as BasicSR does, but not for a network that is never saved.

    Raises:
        DataError: the file of a network that the run saves is missing.
    """
    from basicsr.utils import check_resume

    before = dict(opt['path'])
    check_resume(opt, iteration)
    for network in [key for key in opt if key.startswith('network_')]:
        name, file = f'pretrain_{network}', _network_file(opt, network, iteration)
        if file.is_file() or network in (opt['path'].get('ignore_resume_networks') or []):
            continue
        if network in _saved_networks(opt) or not _saved_networks(opt):
            raise DataError(f'{file}: no such file; resuming at iteration {iteration} needs it.')
        print(f'This run does not save {network}; {name} stays {before.get(name)}.', flush=True)
        opt['path'].pop(name, None)
        key = f'param_key_{network.removeprefix("network_")}'
        opt['path'].update({k: before[k] for k in (name, key) if k in before})


def _saved_networks(opt: dict[str, Any]) -> list[str]:
    """The networks of which this run has saved a checkpoint."""
    folder = Path(opt['path']['models'])
    networks = [key for key in opt if key.startswith('network_')]
    return [n for n in networks if any(folder.glob(f'net_{n.removeprefix("network_")}_[0-9]*.pth'))]


def _network_file(opt: dict[str, Any], network: str, iteration: int) -> Path:
    return Path(opt['path']['models']) / f'net_{network.removeprefix("network_")}_{iteration}.pth'


def further_state(model: Any) -> dict[str, Any]:
    """Returns what a state holds in addition to BasicSR's keys. Every process must call it: it gathers from all."""
    # If a resumed run has not begun yet, the state that it will begin with, not the generators' present state.
    random = course.gathered or [course.random or random_state.capture()]
    if course.gathered is None and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        mine, random = random[0], [{}] * dist.get_world_size()
        dist.all_gather_object(random, mine)
    state: dict[str, Any] = {'random': random, 'best_metrics': plain(getattr(model, 'best_metric_results', {}))}
    state['kinds'] = kinds(model)
    if course.place is not None:
        state['position'] = course.place[1]
    points = {n: training_point(o) for n, o in enumerate(model.optimizers) if switches(o)}
    if points:
        state['training_points'] = points
    if hasattr(model, 'more_state'):
        state['model'] = model.more_state()
    if hasattr(model, 'own_state'):
        state['of_processes'] = _of_all(model.own_state())
    return state


def _of_all(mine: dict[str, Any]) -> list[dict[str, Any]]:
    """The states of all processes, or only of this one if collective calls are no longer possible."""
    if course.gathered is not None or not (dist.is_available() and dist.is_initialized()):
        return [mine]
    gathered: list[dict[str, Any]] = [{}] * dist.get_world_size()
    dist.all_gather_object(gathered, mine)
    return gathered


def plain(value: Any) -> Any:
    """Returns nested containers with NumPy scalars as Python numbers; a state is read back without NumPy types."""
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(item) for item in value) if type(value) in (list, tuple) else list(map(plain, value))
    return value.item() if isinstance(value, np.generic) else value


def resume_training(model: Any, resume_state: dict[str, Any], step_schedule: Callable[[Any, int, int], None]) -> None:
    """Restores a training from its state; changed learning rates and schedules of the option file take precedence.

    Args:
        model: a model of BasicSR.
        resume_state: training state, from `read_state`.
        step_schedule: called with (model, iteration, warm-up iterations); sets the learning rates.

    Raises:
        DataError: the state belongs to a training with other optimizers, or with another batch size in total.
    """
    kept = load_optimizers(model, resume_state, step_schedule)
    for number, point in resume_state.get('training_points', {}).items():
        if number in kept:
            back_to(model.optimizers[number], point)
    if course.manifest is not None and course.checkpoints is not None:
        made_with.tell_changes(course.checkpoints.made_with, course.manifest.made_with)
    course.saved = resume_state['iter']
    random = resume_state.get('random', [])
    if len(random) == model.opt.get('world_size', 1):
        course.random = random[model.opt.get('rank', 0)]
    elif random:
        _require_as_many_items(model.opt, len(random))
        logger.warning(
            f'The state was written by {len(random)} processes and is resumed by {model.opt["world_size"]}: '
            'the data continue where they were; random numbers inside networks (dropout) start again.'
        )
    if 'position' in resume_state and course.sampler is not None:
        course.place = resume_state['epoch'], resume_state['position']
        start_at(course.sampler, *course.place)
    _resume_best_metrics(model, resume_state.get('best_metrics', {}))
    if 'model' in resume_state and hasattr(model, 'resume_more'):
        model.resume_more(resume_state['model'])
    _resume_own(model, resume_state.get('of_processes', []))


def _require_as_many_items(opt: dict[str, Any], processes: int) -> None:
    """Raises `DataError` if an iteration would take another number of items in total than before.

    That would be another training: another batch size with the same learning rate.
    """
    made = course.manifest.made_with.get('options', {}) if course.manifest is not None else {}
    before = ((made.get('datasets') or {}).get('train') or {}).get('batch_size_per_gpu')
    now = (opt.get('datasets') or {}).get('train', {}).get('batch_size_per_gpu')
    if not before or not now or before * processes == now * opt['world_size']:
        return
    total = before * processes
    fitting = total % opt['world_size'] == 0
    remedy = f'set batch_size_per_gpu: {total // opt["world_size"]}' if fitting else f'use {processes} processes'
    raise DataError(
        f'the state was written by {processes} processes of {before} items each, and {opt["world_size"]} processes of '
        f'{now} take {now * opt["world_size"]} items per iteration instead of {total}; {remedy}, or begin a new run '
        'with path.pretrain_network_g.'
    )


def _resume_own(model: Any, states: list[dict[str, Any]]) -> None:
    """Restores what belongs to this process only: the gradients accumulated since the last optimizer step."""
    if len(states) == model.opt.get('world_size', 1):
        if states[model.opt.get('rank', 0)] and hasattr(model, 'resume_own'):
            model.resume_own(states[model.opt.get('rank', 0)])
    elif any(states):
        logger.warning(
            'Gradients accumulated since the last optimizer step are dropped: the state does not hold those of each '
            'process of this run.'
        )


def _resume_best_metrics(model: Any, best: dict[str, dict[str, Any]]) -> None:
    """Restores the best metric values of the data sets whose metrics are still the same."""
    metrics = ((model.opt.get('val') or {}).get('metrics') or {}).keys()
    kept = {name: record for name, record in best.items() if record.keys() == metrics}
    if kept:
        model.best_metric_results = kept
