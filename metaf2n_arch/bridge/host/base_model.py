"""`basicsr.models.base_model`: repairs of `BaseModel`.

For everybody: any optimizer of torch can be used; networks and states are written atomically (if that fails, training
goes on with BasicSR's warning); several processes can train on CPUs.

In runs of this package: a write that fails ends the training; a state holds all that an exact resume needs, and older
states are pruned; weights are read from any kind of file; a signal ends the training after an iteration, with all
saved; validation does not change the random generators of the training, and is logged at the last iteration at latest.
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
    """Restores a training from its state; changed learning rates and schedules of the option file take precedence."""
    resume.resume_training(self, resume_state, ORIGINALS[f'{_HOST}.update_learning_rate'])


def update_learning_rate(self: Any, current_iter: int, warmup_iter: int = -1) -> None:
    """Begins an iteration; the runner calls this first in each."""
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
    """At the first iteration of the stock runner: starts handling signals, saving before the end, and progress."""
    course.from_program = False
    stopping.listen()
    launcher.end_with_launcher()
    rescue.watch(model)
    if model.opt.get('rank', 0) == 0:
        from metaf2n_arch.run import progress

        course.bar = progress.begin(model.opt['name'], current_iter - 1, int(model.opt['train']['total_iter']))


def validation(self: Any, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool = False) -> None:
    """Validates without changing the training; a state of this iteration is saved again with the new best metrics."""
    folders.has_begun()
    if self.opt['is_train'] and isinstance(current_iter, int):
        current_iter = min(current_iter, int(self.opt['train']['total_iter']))
    before = random_state.capture()
    with stopping.cut_short(self):
        ORIGINALS[f'{_HOST}.validation'](self, dataloader, current_iter, tb_logger, save_img)
    random_state.restore(before)
    if not self.opt['is_train'] or not course.training:
        return
    if course.saved == current_iter:
        self.save_training_state(course.epoch, current_iter)
    stopping.leave_if_asked(self, current_iter + 1)


def get_optimizer(self: Any, optim_type: str, params: Any, lr: float, **kwargs: Any) -> torch.optim.Optimizer:
    """Builds an optimizer of `torch.optim` by name; `Adam` and unknown names are left to BasicSR."""
    if not circle.is_ours(self):
        found: Any = getattr(torch.optim, optim_type, None) if isinstance(optim_type, str) else None
        if optim_type != 'Adam' and isinstance(found, type) and issubclass(found, torch.optim.Optimizer):
            kind: Any = found
            return kind(params, lr=lr, **kwargs)
        return ORIGINALS[f'{_HOST}.get_optimizer'](self, optim_type, params, lr, **kwargs)
    from metaf2n_arch.models.optimizers import build_optimizer

    return build_optimizer({'type': optim_type, 'lr': lr, **kwargs}, params, 'optimizer')


def setup_schedulers(self: Any) -> None:
    """Builds a schedule of any type for each optimizer."""
    from metaf2n_arch.models.learning_rates import build_schedulers

    self.schedulers.extend(
        build_schedulers(self.opt['train'], self.optimizers, (self.opt.get('val') or {}).get('metrics'))
    )


def model_to_device(self: Any, net: nn.Module) -> nn.Module:
    """Moves `net` to the model's device; on a CPU with several processes, wraps it without device ids."""
    if self.opt['dist'] and self.device.type == 'cpu':
        return processes.parallel_on_cpu(net.to(self.device), self.opt.get('find_unused_parameters', False))
    return ORIGINALS[f'{_HOST}.model_to_device'](self, net)


def save_network(self: Any, net: Any, net_label: str, current_iter: int, param_key: Any = 'params') -> None:
    """Writes one or several networks into ``<net_label>_<iteration>.pth``, atomically."""
    save = checkpoints.save_network if circle.is_ours(self) else checkpoints.save_network_as_the_host
    save(self, net, net_label, current_iter, param_key)


def save_training_state(self: Any, epoch: int, current_iter: int) -> None:
    """Writes ``<iteration>.state``, atomically."""
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
    # Releases support Adam only; the master branch a few more, each in an own branch of the code.
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
    Repair('saving', _MODULE, _save, 'leaves truncated files after a failed write, and goes on', 'everybody'),
    Repair('optimizers', _MODULE, _optimizer, 'supports Adam only', 'everybody'),
    Repair('schedules', _MODULE, _schedules, 'supports two schedules only'),
    Repair('parallel-on-cpus', _MODULE, _wrap, 'asks CUDA for a device, also with num_gpu: 0', 'everybody'),
    Repair('loading', _MODULE, _load, 'reads neither safetensors nor bare state dicts'),
    Repair('exact-resume', _MODULE, _course, 'saves neither random states nor position nor best metrics'),
]
