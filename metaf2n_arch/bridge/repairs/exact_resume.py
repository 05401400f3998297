"""A resumed training goes on exactly where it was: the same batches, the same random numbers, the same weights.

Seen with BasicSR 1.4.2: a state holds epoch, iteration, optimizers and schedulers only. After a resume the epoch begins
anew, so that the same batches are seen twice; the generators start over; the best metrics are forgotten; a learning
rate or milestones changed in the option file are ignored in silence. Instead the state also holds the position in the
epoch, the generators of every process, the best metrics and what a model of ours adds; validation leaves training's
generators alone; and the option file's learning rate and schedule count, which the log says. Files keep the host's
format, with further keys. May go when the host does so.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch.distributed as dist

from metaf2n_arch.bridge import progress, stopping
from metaf2n_arch.bridge.course import course
from metaf2n_arch.bridge.schedules import kinds, load_optimizers
from metaf2n_arch.bridge.table import ORIGINALS, Repair, replace
from metaf2n_arch.utils import random_state


def further_state(model: Any) -> dict[str, Any]:
    """What a state holds beyond the host's keys. Every process must call this, for each has generators of its own."""
    # What a resumed run has not begun with yet counts, not where its preparations have come to.
    random = [course.random or random_state.capture()]
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        mine, random = random[0], [{}] * dist.get_world_size()
        dist.all_gather_object(random, mine)
    state: dict[str, Any] = {'random': random, 'best_metrics': getattr(model, 'best_metric_results', {})}
    state['kinds'] = kinds(model)
    if course.place is not None:
        state['position'] = course.place[1]
    if hasattr(model, 'more_state'):
        state['model'] = model.more_state()
    return state


def resume_training(self: Any, resume_state: dict[str, Any]) -> None:
    """Takes everything from the state; of the learning rates and schedules, what the option file says counts."""
    from basicsr.utils import get_root_logger

    load_optimizers(self, resume_state)
    course.saved = resume_state['iter']
    random = resume_state.get('random', [])
    if len(random) == self.opt.get('world_size', 1):
        course.random = random[self.opt.get('rank', 0)]
    elif random:
        get_root_logger().warning(
            f'The state was written by {len(random)} processes and is resumed by {self.opt["world_size"]}: '
            'the generators start over, the tasks go on where they were.'
        )
    if 'position' in resume_state and course.sampler is not None:
        course.place = resume_state['epoch'], resume_state['position']
        course.sampler.start_at(*course.place)
    _resume_best_metrics(self, resume_state.get('best_metrics', {}))
    if 'model' in resume_state and hasattr(self, 'resume_more'):
        self.resume_more(resume_state['model'])


def _resume_best_metrics(model: Any, best: dict[str, dict[str, Any]]) -> None:
    """Takes the best values over, of data sets whose metrics are still the same."""
    metrics = ((model.opt.get('val') or {}).get('metrics') or {}).keys()
    kept = {name: record for name, record in best.items() if record.keys() == metrics}
    if kept:
        model.best_metric_results = kept


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
    course.begin_iteration()
    ORIGINALS['basicsr.models.base_model.BaseModel.update_learning_rate'](self, current_iter, warmup_iter)


def _begin_program(model: Any, current_iter: int) -> None:
    """At the first iteration of the stock runner: from here on signals can be obeyed, and there is progress."""
    course.from_program = False
    stopping.listen()
    if model.opt.get('rank', 0) == 0:
        course.bar = progress.begin(model.opt['name'], current_iter - 1, int(model.opt['train']['total_iter']))


def _resume(module: ModuleType) -> bool:
    replace(module.BaseModel, 'resume_training', resume_training)
    replace(module.BaseModel, 'update_learning_rate', update_learning_rate)
    return True


def _validation(module: ModuleType) -> bool:
    inner = module.BaseModel.validation

    def validation(self: Any, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool = False) -> None:
        """Validates; a state of this iteration then gets the best metrics as well."""
        before = random_state.capture()
        with stopping.cut_short():
            inner(self, dataloader, current_iter, tb_logger, save_img)
        random_state.restore(before)
        if not self.opt['is_train'] or course.sampler is None:
            return
        current_iter = min(current_iter, int(self.opt['train']['total_iter']))
        if course.saved == current_iter:
            self.save_training_state(course.epoch, current_iter)
        stopping.leave_if_asked(self, current_iter + 1)

    replace(module.BaseModel, 'validation', validation)
    return True


def _epochs(module: ModuleType) -> bool:
    original = module.EnlargedSampler.set_epoch

    def set_epoch(self: Any, epoch: int) -> None:
        original(self, epoch)
        course.enter_epoch(self)

    replace(module.EnlargedSampler, 'set_epoch', set_epoch)
    return True


def _writer(module: ModuleType) -> bool:
    original, call = module.MessageLogger.__init__, module.MessageLogger.__call__

    def __init__(self: Any, opt: dict[str, Any], start_iter: int = 1, tb_logger: Any = None) -> None:
        course.tb_logger = tb_logger
        original(self, opt, start_iter, tb_logger)

    def __call__(self: Any, log_vars: dict[str, Any]) -> None:
        if course.bar is not None:
            course.bar.show(log_vars)
            course.bar.advance(log_vars['iter'])
        call(self, log_vars)

    replace(module.MessageLogger, '__init__', __init__)
    replace(module.MessageLogger, '__call__', __call__)
    return True


REPAIRS = [
    Repair('exact resume', 'basicsr.models.base_model', _resume, 'forgets generators, place, best metrics'),
    Repair('validation apart', 'basicsr.models.base_model', _validation, "draws from training's generators"),
    Repair('place in the epoch', 'basicsr.data.data_sampler', _epochs, 'begins an epoch anew after a resume'),
    Repair('writer and bar', 'basicsr.utils.logger', _writer, "loses tensorboard's last minutes, shows no progress"),
]
