"""`basicsr.models.lr_scheduler`: cosine annealing with restarts keeps its last rate after its periods, for everybody.

Seen with BasicSR 1.4.2: if a run is longer than the periods of `CosineAnnealingRestartLR`, `get_position_from_periods`
returns None one iteration after the last period, and training ends with a TypeError. Here the learning rate at the end
of the last period is kept.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from metaf2n_arch.bridge.patching import Repair, replace


def _cosine(module: ModuleType) -> bool:
    if module.get_position_from_periods(2, [1]) is not None:
        return False
    scheduler = module.CosineAnnealingRestartLR
    original = scheduler.get_lr

    def get_lr(self: Any) -> list[float]:
        """Returns the learning rates of this iteration, or those at the end of the last period."""
        iteration, end = self.last_epoch, self.cumulative_period[-1]
        self.last_epoch = min(iteration, end)
        try:
            return original(self)
        finally:
            self.last_epoch = iteration

    replace(scheduler, 'get_lr', get_lr)
    return True


_WHY = 'ends with an error after the last period'
REPAIRS = [Repair('cosine-restarts', 'basicsr.models.lr_scheduler', _cosine, _WHY, 'everybody')]
