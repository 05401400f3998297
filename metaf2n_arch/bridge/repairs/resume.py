"""Resuming works on a CPU, from where the run was written, and survives a damaged newest state.

Seen with BasicSR 1.4.2: `load_resume_state` calls CUDA, so that no run resumes on a CPU; `--auto_resume` looks under
the working directory while the run was written elsewhere, archives it and starts at 0; states are unpickled without
restriction; a truncated newest state ends every attempt; `check_resume` wants a checkpoint of every network, also of
frozen ones that are never saved. Instead states are read on the CPU with nothing executed (the optimizers move them
to their parameters' device), and `--auto_resume` falls back to the newest complete checkpoint and says so. May go
when the host does so.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from metaf2n_arch.bridge import runner
from metaf2n_arch.bridge.course import course
from metaf2n_arch.bridge.table import Repair, replace
from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.weights.files import read_checkpoint


def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the state to resume from, or `None`; points the options at the networks saved with it."""
    opt['root_path'] = str(runner.working_root(opt['root_path']))
    course.from_program = True
    if opt['auto_resume']:
        state = newest_complete_state(opt)
    else:
        path = opt['path'].get('resume_state')
        state = read_state(Path(path)) if path else None
    course.resumed = (0, 0) if state is None else (state['epoch'], state['iter'])
    if state is not None:
        point_to_networks(opt, state['iter'])
    return state


def read_state(path: Path) -> dict[str, Any]:
    """Returns a training state, or raises `DataError` naming the file."""
    state = read_checkpoint(path)
    if not isinstance(state, dict) or not {'epoch', 'iter', 'optimizers', 'schedulers'} <= state.keys():
        raise DataError(f'{path}: is no training state; give a .state file of the folder training_states.')
    return state


def newest_complete_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the newest state that can be read together with its networks; names each one that is passed over.

    Raises:
        DataError: there are states, but none is whole. Starting at 0 would move them away.
    """
    folder = Path(opt['path']['training_states'])
    found = [file for file in folder.glob('*.state') if file.stem.isdigit()] if folder.is_dir() else []
    for file in sorted(found, key=lambda f: int(f.stem), reverse=True):
        try:
            state = read_state(file)
            for network in _saved_networks(opt):
                read_checkpoint(_network_file(opt, network, state['iter']))
        except DataError as error:
            print(f'Passed over while resuming: {error}', flush=True)
            continue
        opt['path']['resume_state'] = str(file)
        return state
    if found:
        raise DataError(f'{folder}: none of its {len(found)} training states can be read; move the folder away.')
    return None


def point_to_networks(opt: dict[str, Any], iteration: int) -> None:
    """Sets `path.pretrain_network_*` as the host does, but leaves a network alone that is never saved."""
    from basicsr.utils import check_resume

    before = dict(opt['path'])
    check_resume(opt, iteration)
    for network in [key for key in opt if key.startswith('network_')]:
        name, file = f'pretrain_{network}', _network_file(opt, network, iteration)
        if file.is_file() or network in (opt['path'].get('ignore_resume_networks') or []):
            continue
        if network in _saved_networks(opt) or before.get(name) is None:
            raise DataError(f'{file}: no such file; resuming at iteration {iteration} needs it.')
        print(f'{network} is not saved with this run; {name} stays {before[name]}', flush=True)
        key = f'param_key_{network.removeprefix("network_")}'
        opt['path'].update({k: before[k] for k in (name, key) if k in before})


def _saved_networks(opt: dict[str, Any]) -> list[str]:
    """The networks of which this run has saved any checkpoint."""
    folder = Path(opt['path']['models'])
    networks = [key for key in opt if key.startswith('network_')]
    return [n for n in networks if any(folder.glob(f'net_{n.removeprefix("network_")}_[0-9]*.pth'))]


def _network_file(opt: dict[str, Any], network: str, iteration: int) -> Path:
    return Path(opt['path']['models']) / f'net_{network.removeprefix("network_")}_{iteration}.pth'


def _apply(module: ModuleType) -> bool:
    replace(module, 'load_resume_state', load_resume_state)
    return True


def adopt_program() -> None:
    """Repairs the copy of `basicsr.train` that runs as the program: `python -m` executes the file a second time."""
    program = sys.modules.get('__main__')
    if program is not None and runner.is_host_script(program, 'basicsr.train'):
        for name in ('load_resume_state', 'create_train_val_dataloader'):
            setattr(program, name, getattr(sys.modules['basicsr.train'], name))


REPAIRS = [Repair('resume', 'basicsr.train', _apply, 'calls CUDA, looks in another folder than it wrote to')]
