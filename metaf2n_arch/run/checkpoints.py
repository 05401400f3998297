"""Checkpoints and training states: written whole or not at all, read without executing anything, pruned.

Seen with BasicSR 1.4.2: with a full disk a truncated .pth stays behind under a warning and training goes on; weights
are unpickled without restriction (torch before 2.6); .safetensors and bare state dicts cannot be read; a checkpoint of
another network ends in pages of key names. Instead a file is written beside its place, flushed to the disk and renamed,
in the host's own format; a write that fails ends training with the last good checkpoint intact.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from metaf2n_arch.run.course import course
from metaf2n_arch.run.resume import further_state
from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.weights.files import OPTIONS, load_state_dict, load_strictly, save_atomically
from metaf2n_arch.weights.layouts import in_names_of

TRIES = 3
logger = logging.getLogger('basicsr')


def save_network(
    model: Any,
    net: nn.Module | list[nn.Module],
    net_label: str,
    current_iter: int,
    param_key: str | list[str] = 'params',
) -> None:
    """Writes one or several networks into `<net_label>_<iteration>.pth`, each under its key, as the host does.

    What a network must be built with and no tensor's shape tells (`recorded_options`) goes beside it.

    Raises:
        DataError: the file could not be written; the one before, if any, is untouched.
    """
    nets = net if isinstance(net, list) else [net]
    keys = param_key if isinstance(param_key, list) else [param_key]
    if len(nets) != len(keys):
        raise ValueError(f'save_network got {len(nets)} networks and {len(keys)} keys; they must be as many.')
    if model.opt.get('rank', 0) != 0:
        return
    name = f'{net_label}_{"latest" if current_iter == -1 else current_iter}.pth'
    bare = [model.get_bare_model(each) for each in nets]
    content = {key: _on_cpu(each) for each, key in zip(bare, keys)}
    for each in bare:
        if hasattr(each, 'recorded_options'):
            content[OPTIONS] = each.recorded_options
    _write(content, Path(model.opt['path']['models']) / name)


def _on_cpu(net: nn.Module) -> Mapping[str, Any]:
    state = net.state_dict()
    # In place, so that what torch attaches to the mapping (versions of modules) stays with it.
    for key in list(state):
        state[key.removeprefix('module.')] = state.pop(key).cpu()
    return state


def save_training_state(model: Any, epoch: int, current_iter: int) -> None:
    """Writes optimizers, schedulers and all that an exact resume needs into `<iteration>.state`; prunes older ones.

    Raises:
        DataError: the file could not be written; the one before, if any, is untouched.
    """
    if current_iter == -1:
        return
    further = further_state(model)
    course.saved = current_iter
    if model.opt.get('rank', 0) != 0:
        return
    state = {
        'epoch': epoch,
        'iter': current_iter,
        'optimizers': [optimizer.state_dict() for optimizer in model.optimizers],
        'schedulers': [scheduler.state_dict() for scheduler in model.schedulers],
        **further,
    }
    paths = model.opt['path']
    _write(state, Path(paths['training_states']) / f'{current_iter}.state')
    keep = (model.opt.get('logger') or {}).get('keep_last')
    if keep is not None:
        best = {record['iter'] for records in state['best_metrics'].values() for record in records.values()}
        prune(Path(paths['training_states']), Path(paths['models']), keep, current_iter, best)


def prune(states: Path, models: Path, keep: int, newest: int, best: Collection[int] = ()) -> None:
    """Removes all but the `keep` newest states up to iteration `newest`, and the networks saved with them.

    The networks of the iterations `best` stay. Later states, left by a run that was taken back to an earlier one, do
    not count: they may be what was damaged. A state goes before its networks, so that no state is ever without them.
    """
    found = {int(file.stem): file for file in states.glob('*.state') if file.stem.isdigit()}
    kept = sorted(i for i in found if i <= newest)[-keep:]
    for iteration, file in found.items():
        if iteration < kept[0]:
            file.unlink()
    for file in models.glob('net_*.pth'):
        suffix = file.stem.rpartition('_')[2]
        if suffix.isdigit() and int(suffix) < kept[0] and int(suffix) not in best:
            file.unlink()


def _write(content: Any, path: Path) -> None:
    """Writes, trying again as the host does: network drives have bad moments. The last failure is raised."""
    for left in reversed(range(TRIES)):
        try:
            return save_atomically(content, path)
        except DataError as error:
            if left == 0:
                raise
            logger.warning(f'{error} Tries left: {left}.')
            time.sleep(1)


def load_network(
    model: Any, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = 'params'
) -> None:
    """Loads a .pth or .safetensors file into `net`.

    Raises:
        DataError: the file cannot be read, or (with `strict`) belongs to another network.
    """
    net = model.get_bare_model(net)
    state = in_names_of(net, load_state_dict(load_path, param_key), load_path)
    logger.info(f'Loading {type(net).__name__} model from {load_path}, with param key: [{param_key}].')
    if strict:
        load_strictly(net, state, load_path)
    else:
        model._print_different_keys_loading(net, state, strict)
        net.load_state_dict(state, strict=False)
