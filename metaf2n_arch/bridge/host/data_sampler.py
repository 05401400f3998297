"""`basicsr.data.data_sampler`: in runs of this package `EnlargedSampler` yields visits, and can start inside an epoch.

See `run.sampling` for the order. Each new epoch is recorded in `run.course`.
"""

from __future__ import annotations

import inspect
import math
from types import ModuleType
from typing import Any

from metaf2n_arch.bridge.patching import ORIGINALS, Repair, replace_for_ours
from metaf2n_arch.run.course import course
from metaf2n_arch.run.sampling import visits

_HOST = 'basicsr.data.data_sampler.EnlargedSampler'


def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
    """Does the same as BasicSR, and keeps the length of the epoch before it is rounded up to all processes."""
    original = ORIGINALS[f'{_HOST}.__init__']
    original(self, *args, **kwargs)
    bound = inspect.signature(original).bind(self, *args, **kwargs)
    bound.apply_defaults()
    self.enlarged_size = math.ceil(len(self.dataset) * bound.arguments['ratio'])
    self.same_order = (course.options or {}).get('datasets', {}).get('train', {}).get('same_order', False)
    if self.same_order:
        self.num_samples = self.enlarged_size // self.num_replicas
        self.total_size = self.num_samples * self.num_replicas


def set_epoch(self: Any, epoch: int) -> None:
    """Begins an epoch."""
    ORIGINALS[f'{_HOST}.set_epoch'](self, epoch)
    course.enter_epoch(self)


def _apply(module: ModuleType) -> bool:
    for name, function in (('__init__', __init__), ('__iter__', visits), ('set_epoch', set_epoch)):
        replace_for_ours(module.EnlargedSampler, name, function)
    return True


_WHY = 'ignores manual_seed, starts the epoch again after a resume'
REPAIRS = [Repair('sampling', 'basicsr.data.data_sampler', _apply, _WHY)]
