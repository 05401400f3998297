"""`basicsr.models.base_model`: what `BaseModel` does today.

For everybody: any optimizer of torch can be named; networks and states are written whole or not at all (where that
fails, training goes on under the host's warning); several processes train on CPUs.

In runs of ours: a write that fails ends training; a state holds all that an exact resume needs, and older ones are
pruned; weights are read from any kind of file; every iteration can be left on a signal, with all saved; validation
leaves training's generators alone and is logged at no later iteration than the last.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import nn

from metaf2n_arch.bridge import circle
from metaf2n_arch.bridge.patching import ORIGINALS, Repair, replace, replace_for_ours, still_says
from metaf2n_arch.run import checkpoints, folders, launcher, processes, rescue, resume, stopping
from metaf2n_arch.run.course import course
from metaf2n_arch.utils import random_state

_HOST = 'basicsr.models.base_model.BaseModel'


def resume_training(self: Any, resume_state: dict[str, Any]) -> None:
    """Takes everything from the state; of the learning rates and schedules, what the option file says counts."""
    resume.resume_training(self, resume_state, ORIGINALS[f'{_HOST}.update_learning_rate'])


def update_learning_rate(self: Any, current_iter: int, warmup_iter: int = -1) -> None:
    """Begins an iteration: the first thing the runner does in each."""
    stopping.leave_if_asked(self, current_iter)
    if course.from_program:
        _begin_program(self, current_iter)
    if course.bar is not None:
        course.bar.advance(current_iter - 1)
    if course.random is not None:
        random_state.restore(course.random)
        course.random = None
    if course.begun:
        folders.has_begun()
    if course.checkpoints is not None:
        course.checkpoints.check()
    if course.watch is not None:
        course.watch.begin_iteration(current_iter)
    course.begin_iteration()
    ORIGINALS[f'{_HOST}.update_learning_rate'](self, current_iter, warmup_iter)


def _begin_program(model: Any, current_iter: int) -> None:
    """At the first iteration of the stock runner: from here on signals can be obeyed, and there is progress."""
    course.from_program = False
    stopping.listen()
    launcher.end_with_launcher()
    rescue.watch(model)
    if model.opt.get('rank', 0) == 0:
        from metaf2n_arch.run import progress

        course.bar = progress.begin(model.opt['name'], current_iter - 1, int(model.opt['train']['total_iter']))


def validation(self: Any, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool = False) -> None:
    """Validates apart from training; a state of this iteration then gets the best metrics as well."""
    folders.has_begun()
    if self.opt['is_train'] and isinstance(current_iter, int):
        current_iter = min(current_iter, int(self.opt['train']['total_iter']))
    before = random_state.capture()
    with stopping.cut_short():
        ORIGINALS[f'{_HOST}.validation'](self, dataloader, current_iter, tb_logger, save_img)
    random_state.restore(before)
    if not self.opt['is_train'] or not course.training:
        return
    if course.saved == current_iter:
        self.save_training_state(course.epoch, current_iter)
    stopping.leave_if_asked(self, current_iter + 1)


def get_optimizer(self: Any, optim_type: str, params: Any, lr: float, **kwargs: Any) -> torch.optim.Optimizer:
    """Returns any optimizer of `torch.optim` by name; what the host knows, and what nobody knows, is left to it."""
    if not circle.is_ours(self):
        found: Any = getattr(torch.optim, optim_type, None) if isinstance(optim_type, str) else None
        if optim_type != 'Adam' and isinstance(found, type) and issubclass(found, torch.optim.Optimizer):
            kind: Any = found
            return kind(params, lr=lr, **kwargs)
        return ORIGINALS[f'{_HOST}.get_optimizer'](self, optim_type, params, lr, **kwargs)
    from metaf2n_arch.models.optimizers import build_optimizer

    return build_optimizer({'type': optim_type, 'lr': lr, **kwargs}, params, 'optimizer')


def setup_schedulers(self: Any) -> None:
    """Builds the schedule of any name, for each optimizer."""
    from metaf2n_arch.models.learning_rates import build_schedulers

    self.schedulers.extend(
        build_schedulers(self.opt['train'], self.optimizers, (self.opt.get('val') or {}).get('metrics'))
    )


def model_to_device(self: Any, net: nn.Module) -> nn.Module:
    """Moves `net` to the model's device; on a CPU, wraps it for several processes without naming a GPU."""
    if self.opt['dist'] and self.device.type == 'cpu':
        return processes.parallel_on_cpu(net.to(self.device), self.opt.get('find_unused_parameters', False))
    return ORIGINALS[f'{_HOST}.model_to_device'](self, net)


def save_network(self: Any, net: Any, net_label: str, current_iter: int, param_key: Any = 'params') -> None:
    """Writes one or several networks into `<net_label>_<iteration>.pth`, whole or not at all."""
    save = checkpoints.save_network if circle.is_ours(self) else checkpoints.save_network_as_the_host
    save(self, net, net_label, current_iter, param_key)


def save_training_state(self: Any, epoch: int, current_iter: int) -> None:
    """Writes `<iteration>.state`, whole or not at all."""
    save = checkpoints.save_training_state if circle.is_ours(self) else checkpoints.save_training_state_as_the_host
    save(self, epoch, current_iter)


def _save(module: ModuleType) -> bool:
    if not still_says(module.BaseModel.save_network, 'Just ignore it'):
        return False
    replace(module.BaseModel, 'save_network', save_network)
    replace(module.BaseModel, 'save_training_state', save_training_state)
    return True


def _load(module: ModuleType) -> bool:
    replace_for_ours(module.BaseModel, 'load_network', checkpoints.load_network)
    return True


def _course(module: ModuleType) -> bool:
    for function in (resume_training, update_learning_rate, validation):
        replace_for_ours(module.BaseModel, function.__name__, function)
    return True


def _optimizer(module: ModuleType) -> bool:
    # Releases know Adam alone; git master a handful, spelt out one by one.
    if not still_says(module.BaseModel.get_optimizer, 'NotImplementedError'):
        return False
    replace(module.BaseModel, 'get_optimizer', get_optimizer)
    return True


def _schedules(module: ModuleType) -> bool:
    replace_for_ours(module.BaseModel, 'setup_schedulers', setup_schedulers)
    return True


def _wrap(module: ModuleType) -> bool:
    if not still_says(module.BaseModel.model_to_device, 'device_ids=[torch.cuda.current_device()]'):
        return False
    replace(module.BaseModel, 'model_to_device', model_to_device)
    return True


_MODULE = 'basicsr.models.base_model'
REPAIRS = [
    Repair('saving', _MODULE, _save, 'leaves truncated files behind and goes on', 'everybody'),
    Repair('optimizers', _MODULE, _optimizer, 'knows Adam only', 'everybody'),
    Repair('schedules', _MODULE, _schedules, 'knows two schedules only'),
    Repair('parallel-on-cpus', _MODULE, _wrap, 'asks CUDA for a device whatever num_gpu says', 'everybody'),
    Repair('loading', _MODULE, _load, 'knows neither safetensors nor bare state dicts'),
    Repair('exact-resume', _MODULE, _course, 'forgets generators, place, best metrics; validates late and not apart'),
]
