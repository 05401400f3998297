"""`basicsr.models.sr_model`: in runs of ours stock models validate as ours do.

Seen with BasicSR 1.4.2: `SRModel.nondist_validation` calls every metric per image and averages, so that FID is
impossible (BasicSR #399) and a metric that fails on one image (NIQE on 96²) ends the run; `dist_validation` leaves all
the work to rank 0, without a barrier, until the others time out (#737). Instead our loop validates, with the same file
names and log lines, and writes ``metrics_<data set>.json`` beside the log. A model that brings a loop of its own, or
its own words for the log, keeps it.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from metaf2n_arch.bridge.patching import ORIGINALS, Repair, replace_for_ours

_HOST = 'basicsr.models.sr_model.SRModel'


def nondist_validation(self: Any, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
    """Validates on one data set, in this process alone."""
    from metaf2n_arch.models.validation import Validation

    if _overridden(self, '_log_validation_metric_values'):
        ORIGINALS[f'{_HOST}.nondist_validation'](self, dataloader, current_iter, tb_logger, save_img)
        return
    Validation(self, dataloader, current_iter, tb_logger, save_img, alone=True).run()


def dist_validation(self: Any, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
    """Validates on one data set, each process its share; a loop of the model's own runs in the first process."""
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


_WHY = 'averages per image on rank 0, and one failure ends it'
REPAIRS = [Repair('validation', 'basicsr.models.sr_model', _apply, _WHY)]
