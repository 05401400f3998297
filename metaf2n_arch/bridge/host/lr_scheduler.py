"""`basicsr.models.lr_scheduler`: cosine annealing with restarts stays at its end beyond its periods, for everybody.

Seen with BasicSR 1.4.2: one iteration after the last period of `CosineAnnealingRestartLR`, as happens when a run is
lengthened or its periods were added up wrongly, `get_position_from_periods` finds no period, returns `None`, and
training dies of a TypeError. Instead the learning rate of the last period's end is kept.
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
        """Returns the learning rates of this iteration, or of the last period's end."""
        iteration, end = self.last_epoch, self.cumulative_period[-1]
        self.last_epoch = min(iteration, end)
        try:
            return original(self)
        finally:
            self.last_epoch = iteration

    replace(scheduler, 'get_lr', get_lr)
    return True


_WHY = 'dies one iteration past the last period'
REPAIRS = [Repair('cosine-restarts', 'basicsr.models.lr_scheduler', _cosine, _WHY, 'everybody')]
