"""Checkpoints and training states: written atomically, read without executing anything, pruned.

Seen with BasicSR 1.4.2: on a full disk a truncated .pth is left, with a warning, and training goes on. Weights are
unpickled without restriction (torch before 2.6). .safetensors files and bare state dicts cannot be read. A checkpoint
of another network prints pages of key names. Here a file is written under a temporary name, flushed to the disk and
renamed, in the format of BasicSR. If that fails, training ends, and the last good checkpoint is unchanged. In a run of
the stock runner (`course.checkpoints`) the files of one iteration are a set with a manifest, see `run.checkpoint_sets`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from metaf2n_arch.models.optimizers import at_average
from metaf2n_arch.run import folders, record
from metaf2n_arch.run.checkpoint_sets import SetFolders, prune
from metaf2n_arch.run.course import course
from metaf2n_arch.run.manifests import LATEST
from metaf2n_arch.run.resume import further_state
from metaf2n_arch.run.saving import SetSaver, stage_content
from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.weights.files import OPTIONS, load_state_dict, load_strictly
from metaf2n_arch.weights.layouts import in_names_of

logger = logging.getLogger('basicsr')


def save_network(
    model: Any,
    net: nn.Module | list[nn.Module],
    net_label: str,
    current_iter: int,
    param_key: str | list[str] = 'params',
) -> None:
    """Writes one or several networks into ``<net_label>_<iteration>.pth``, each under its key, as BasicSR does.

    The file also holds what a network must be built with and no tensor's shape shows (`recorded_options`), and what the
    model reports of its training (`recorded`).

    Raises:
        DataError: the file could not be written; a former file is unchanged.
        ValueError: the numbers of networks and of keys differ.
    """
    nets = net if isinstance(net, list) else [net]
    keys = param_key if isinstance(param_key, list) else [param_key]
    if len(nets) != len(keys):
        raise ValueError(f'save_network got {len(nets)} networks and {len(keys)} keys; give one key per network.')
    if model.opt.get('rank', 0) != 0:
        return
    name = f'{net_label}_{"latest" if current_iter == -1 else current_iter}.pth'
    with at_average(getattr(model, 'optimizers', [])):  # until the weights are written, or copied
        _save_network(model, nets, keys, net_label, current_iter, Path(model.opt['path']['models']) / name)


def _save_network(
    model: Any, nets: list[nn.Module], keys: list[str], net_label: str, current_iter: int, path: Path
) -> None:
    bare = [model.get_bare_model(each) for each in nets]
    content = {key: _on_cpu(each) for each, key in zip(bare, keys)}
    for each in bare:
        if hasattr(each, 'recorded_options'):
            content[OPTIONS] = each.recorded_options
    if hasattr(model, 'recorded'):
        content.update(model.recorded(net_label, current_iter))
    saver = _saver_of(model)
    if saver is None:
        stage_content(content, path).publish()
    else:
        saver.network(LATEST if current_iter == -1 else current_iter, content, path)


def _on_cpu(net: nn.Module) -> Mapping[str, Any]:
    state = net.state_dict()
    # In place, to keep the attribute that torch adds to the mapping (_metadata, the versions of modules).
    for key in list(state):
        value = state.pop(key)  # not always a tensor: get_extra_state may return anything
        state[key.removeprefix('module.')] = value.cpu() if isinstance(value, Tensor) else value
    return state


def save_training_state(model: Any, epoch: int, current_iter: int) -> None:
    """Writes all that an exact resume needs into ``<iteration>.state``, and prunes older checkpoints.

    With `current_iter` = -1, at the end of a training, it writes no state, but completes the set ``latest`` and the
    record of the run.

    Raises:
        DataError: the file could not be written; a former file is unchanged.
    """
    if model.opt.get('rank', 0) == 0:
        folders.make_again()
        if course.unreadable is not None:
            course.unreadable.tell()
    if current_iter == -1:
        if model.opt.get('rank', 0) == 0 and (saver := _saver_of(model)) is not None:
            saver.commit(LATEST, epoch, None, None, lambda: None)
            saver.wait()
        course.watch = None
        if model.opt.get('rank', 0) == 0 and 'train' in model.opt:
            record.note(int(model.opt['train']['total_iter']), ended=True)
        return
    further = further_state(model)
    course.saved = current_iter
    if model.opt.get('rank', 0) != 0:
        return
    state = {**_state_of_host(model, epoch, current_iter), **further}
    path = Path(model.opt['path']['training_states']) / f'{current_iter}.state'
    record.note(current_iter)
    keep = (model.opt.get('logger') or {}).get('keep_last')
    best = frozenset(record['iter'] for records in state['best_metrics'].values() for record in records.values())

    def then() -> None:
        if keep is not None:
            prune(SetFolders.of(model.opt['path']), keep, current_iter, best)

    saver = _saver_of(model)
    if saver is None:
        stage_content(state, path).publish()
        then()
    else:
        saver.commit(current_iter, epoch, state, path, then)


def _state_of_host(model: Any, epoch: int, current_iter: int) -> dict[str, Any]:
    """The content of a training state of BasicSR."""
    return {
        'epoch': epoch,
        'iter': current_iter,
        'optimizers': [optimizer.state_dict() for optimizer in model.optimizers],
        'schedulers': [scheduler.state_dict() for scheduler in model.schedulers],
    }


def _saver_of(model: Any) -> SetSaver | None:
    """The `SetSaver` of the run, if this is the model that the runner trains; else None."""
    saver = course.checkpoints
    return saver if saver is not None and saver.folders == SetFolders.of(model.opt['path']) else None


def save_network_as_the_host(
    model: Any,
    net: nn.Module | list[nn.Module],
    net_label: str,
    current_iter: int,
    param_key: str | list[str] = 'params',
) -> None:
    """Writes the same file as BasicSR. A failure is a warning, as there, but leaves no incomplete file."""
    from basicsr.utils.dist_util import get_dist_info

    if get_dist_info()[0] != 0:
        return
    nets = net if isinstance(net, list) else [net]
    keys = param_key if isinstance(param_key, list) else [param_key]
    assert len(nets) == len(keys), 'The lengths of net and param_key should be the same.'
    name = f'{net_label}_{"latest" if current_iter == -1 else current_iter}.pth'
    content = {key: _on_cpu(model.get_bare_model(each)) for each, key in zip(nets, keys)}
    _write_or_go_on(content, Path(model.opt['path']['models']) / name, 'model')


def save_training_state_as_the_host(model: Any, epoch: int, current_iter: int) -> None:
    """Writes epoch, iteration, optimizers and schedulers, as BasicSR does; a failure is a warning."""
    from basicsr.utils.dist_util import get_dist_info

    if current_iter == -1 or get_dist_info()[0] != 0:
        return
    path = Path(model.opt['path']['training_states']) / f'{current_iter}.state'
    _write_or_go_on(_state_of_host(model, epoch, current_iter), path, 'training state')


def _write_or_go_on(content: Any, path: Path, what: str) -> None:
    try:
        stage_content(content, path, lambda line: logger.warning(f'Save {what} error: {line}')).publish()
    except Exception as error:  # as BasicSR: training goes on without this file
        logger.warning(f'Save {what} error: {error}')
        logger.warning(f'Still cannot save {path}. Just ignore it.')


def load_network(
    model: Any, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = 'params'
) -> None:
    """Loads a .pth or .safetensors file into `net`.

    Raises:
        Unloadable: the file cannot be read, or (with `strict`) belongs to another network.
    """
    net = model.get_bare_model(net)
    try:
        _load(model, net, load_path, strict, param_key)
    except DataError as error:
        raise Unloadable(str(error)) from None


class Unloadable(DataError, RuntimeError):
    """Weights that cannot be loaded; also a `RuntimeError`, which callers of BasicSR's function may catch."""


def _load(model: Any, net: nn.Module, load_path: str, strict: bool, param_key: str | None) -> None:
    state = in_names_of(net, load_state_dict(load_path, param_key), load_path)
    logger.info(f'Loading {type(net).__name__} model from {load_path}, with param key: [{param_key}].')
    if strict:
        load_strictly(net, state, load_path)
    else:
        model._print_different_keys_loading(net, state, strict)
        net.load_state_dict(state, strict=False)
