"""Resuming: what a state holds, which one is taken, and how a training goes on exactly where it was.

Seen with BasicSR 1.4.2: `load_resume_state` calls CUDA, so that no run resumes on a CPU; `--auto_resume` looks under
the working directory while the run was written elsewhere, archives it and starts at 0; states are unpickled without
restriction; a truncated newest state ends every attempt; `check_resume` wants a checkpoint of every network, also of
frozen ones that are never saved. A state holds epoch, iteration, optimizers and schedulers only, so that a resumed
epoch begins anew with other random numbers, and the best metrics are forgotten. Instead states are read on the CPU with
nothing executed, `--auto_resume` falls back to the newest complete checkpoint and says so, and a state also holds the
position in the epoch, the generators of every process, the best metrics and what a model of ours adds.
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
    """Returns the state to resume from, or `None`; points the options at the networks saved with it."""
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
    """Does what the host's `load_resume_state` does, on a machine without CUDA."""
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
    """Returns a training state, or raises `DataError` naming the file."""
    state = read_checkpoint(path)
    if not isinstance(state, dict) or not {'epoch', 'iter', 'optimizers', 'schedulers'} <= state.keys():
        raise DataError(f'{path}: is no training state; give a .state file of the folder training_states.')
    if path.stem.isdecimal() and int(path.stem) != state['iter']:
        raise DataError(f'{path}: is the state of iteration {state["iter"]}.')
    return state


def newest_complete_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the newest state that is whole together with its networks; names each one that is passed over.

    Raises:
        DataError: there are states, but none is whole. Starting at 0 would move them away.
    """
    folders = SetFolders.of(opt['path'])
    found = folders.iterations()
    for iteration in found:
        path = folders.states / f'{iteration}.state'
        try:
            state = _checked_state(opt, folders, path)
        except DataError as error:
            print(f'Passed over while resuming: {error}', flush=True)
            continue
        opt['path']['resume_state'] = str(path)
        return state
    if found:
        raise DataError(
            f'{folders.states}: none of its {len(found)} training states can be read; move the folder away.'
        )
    return None


def _named_state(opt: dict[str, Any], path: Path) -> dict[str, Any]:
    """Returns the state that ``path.resume_state`` names, which may lie in the folder of another run."""
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
            f'{path}: has no manifest, as sets of older versions and of BasicSR alone; '
            'only the checksums inside its files could be checked.',
            flush=True,
        )
    return state


def needed_networks(opt: dict[str, Any], iteration: str) -> list[str]:
    """The files of networks without which the run cannot go on from an iteration."""
    ignored = opt['path'].get('ignore_resume_networks') or []
    networks = [n.removeprefix('network_') for n in _saved_networks(opt) if n not in ignored]
    return [f'net_{label}_{iteration}.pth' for label in networks]


def point_to_networks(opt: dict[str, Any], iteration: int) -> None:
    """Sets `path.pretrain_network_*` as the host does, but leaves a network alone that is never saved."""
    from basicsr.utils import check_resume

    before = dict(opt['path'])
    check_resume(opt, iteration)
    for network in [key for key in opt if key.startswith('network_')]:
        name, file = f'pretrain_{network}', _network_file(opt, network, iteration)
        if file.is_file() or network in (opt['path'].get('ignore_resume_networks') or []):
            continue
        if network in _saved_networks(opt) or not _saved_networks(opt):
            raise DataError(f'{file}: no such file; resuming at iteration {iteration} needs it.')
        print(f'{network} is not saved with this run; {name} stays {before.get(name)}', flush=True)
        opt['path'].pop(name, None)
        key = f'param_key_{network.removeprefix("network_")}'
        opt['path'].update({k: before[k] for k in (name, key) if k in before})


def _saved_networks(opt: dict[str, Any]) -> list[str]:
    """The networks of which this run has saved any checkpoint."""
    folder = Path(opt['path']['models'])
    networks = [key for key in opt if key.startswith('network_')]
    return [n for n in networks if any(folder.glob(f'net_{n.removeprefix("network_")}_[0-9]*.pth'))]


def _network_file(opt: dict[str, Any], network: str, iteration: int) -> Path:
    return Path(opt['path']['models']) / f'net_{network.removeprefix("network_")}_{iteration}.pth'


def further_state(model: Any) -> dict[str, Any]:
    """What a state holds beyond the host's keys. Every process must call this, for each has generators of its own."""
    # What a resumed run has not begun with yet counts, not where its preparations have come to.
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
    """What each process has to say, as far as the others can still be asked."""
    if course.gathered is not None or not (dist.is_available() and dist.is_initialized()):
        return [mine]
    gathered: list[dict[str, Any]] = [{}] * dist.get_world_size()
    dist.all_gather_object(gathered, mine)
    return gathered


def plain(value: Any) -> Any:
    """Returns nested containers with NumPy's numbers as Python's, which a state is read back with."""
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(item) for item in value) if type(value) in (list, tuple) else list(map(plain, value))
    return value.item() if isinstance(value, np.generic) else value


def resume_training(model: Any, resume_state: dict[str, Any], step_schedule: Callable[[Any, int, int], None]) -> None:
    """Takes everything from the state; of the learning rates and schedules, what the option file says counts.

    Args:
        model: one of the host's kind.
        resume_state: what `read_state` returned.
        step_schedule: sets the learning rates of (model, iteration, warm-up iterations).
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
            'the data go on where they were; what a network draws by itself (dropout) begins anew.'
        )
    if 'position' in resume_state and course.sampler is not None:
        course.place = resume_state['epoch'], resume_state['position']
        start_at(course.sampler, *course.place)
    _resume_best_metrics(model, resume_state.get('best_metrics', {}))
    if 'model' in resume_state and hasattr(model, 'resume_more'):
        model.resume_more(resume_state['model'])
    _resume_own(model, resume_state.get('of_processes', []))


def _require_as_many_items(opt: dict[str, Any], processes: int) -> None:
    """Refuses another number of processes unless an iteration takes as many items as before: else it is another
    training, with another batch under the same learning rate."""
    made = course.manifest.made_with.get('options', {}) if course.manifest is not None else {}
    before = ((made.get('datasets') or {}).get('train') or {}).get('batch_size_per_gpu')
    now = (opt.get('datasets') or {}).get('train', {}).get('batch_size_per_gpu')
    if not before or not now or before * processes == now * opt['world_size']:
        return
    total = before * processes
    fitting = total % opt['world_size'] == 0
    remedy = f'set batch_size_per_gpu: {total // opt["world_size"]}' if fitting else f'take {processes} processes'
    raise DataError(
        f'the state was written by {processes} processes of {before} items each, and {opt["world_size"]} processes of '
        f'{now} take {now * opt["world_size"]} items per iteration instead of {total}; {remedy}, or begin a new run '
        'with path.pretrain_network_g.'
    )


def _resume_own(model: Any, states: list[dict[str, Any]]) -> None:
    """Takes over what this process alone had, gradients accumulated since the last step."""
    if len(states) == model.opt.get('world_size', 1):
        if states[model.opt.get('rank', 0)] and hasattr(model, 'resume_own'):
            model.resume_own(states[model.opt.get('rank', 0)])
    elif any(states):
        logger.warning('Gradients accumulated since the last step belong to other processes; they are left out.')


def _resume_best_metrics(model: Any, best: dict[str, dict[str, Any]]) -> None:
    """Takes the best values over, of data sets whose metrics are still the same."""
    metrics = ((model.opt.get('val') or {}).get('metrics') or {}).keys()
    kept = {name: record for name, record in best.items() if record.keys() == metrics}
    if kept:
        model.best_metric_results = kept
