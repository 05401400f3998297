"""`basicsr.models.sr_model`: in runs of this package BasicSR's models use the validation of this package.

Seen with BasicSR 1.4.2: `SRModel.nondist_validation` computes every metric per image and averages. So FID is impossible
(BasicSR #399), and a metric that fails for one image (NIQE on 96 x 96 pixels) ends the run. In `dist_validation` rank 0
does all the work, without a barrier, until the others time out (#737). Here `models.validation` is used, with the same
file names and log lines; it also writes ``metrics_<data set>.json`` beside the log. A model that overrides the loop or
the log lines keeps its own.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from metaf2n_arch.bridge.patching import ORIGINALS, Repair, replace_for_ours

_HOST = 'basicsr.models.sr_model.SRModel'


def nondist_validation(self: Any, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
    """Validates on one data set, in this process only."""
    from metaf2n_arch.models.validation import Validation

    if _overridden(self, '_log_validation_metric_values'):
        ORIGINALS[f'{_HOST}.nondist_validation'](self, dataloader, current_iter, tb_logger, save_img)
        return
    Validation(self, dataloader, current_iter, tb_logger, save_img, alone=True).run()


def dist_validation(self: Any, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
    """Validates on one data set, with all processes; a model that overrides the loop validates in rank 0 only."""
    from metaf2n_arch.models.validation import Validation

    if _overridden(self, 'nondist_validation') or _overridden(self, '_log_validation_metric_values'):
        ORIGINALS[f'{_HOST}.dist_validation'](self, dataloader, current_iter, tb_logger, save_img)
        return
    Validation(self, dataloader, current_iter, tb_logger, save_img).run()


def _overridden(model: Any, name: str) -> bool:
    from basicsr.models.sr_model import SRModel

    return getattr(type(model), name) is not getattr(SRModel, name)


def _apply(module: ModuleType) -> bool:
    replace_for_ours(module.SRModel, 'nondist_validation', nondist_validation)
    replace_for_ours(module.SRModel, 'dist_validation', dist_validation)
    return True


_WHY = 'validates on rank 0 only, without metrics over sets; one failed metric ends the run'
REPAIRS = [Repair('validation', 'basicsr.models.sr_model', _apply, _WHY)]
