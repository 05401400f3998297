"""`basicsr.models.sr_model`: in runs of ours stock models validate as ours do.

Seen with BasicSR 1.4.2: `SRModel.nondist_validation` calls every metric per image and averages, so that FID is
impossible (BasicSR #399) and a metric that fails on one image (NIQE on 96²) ends the run; `dist_validation` leaves all
the work to rank 0, without a barrier, until the others time out (#737). Instead our loop validates, with the same file
names and log lines, and writes ``metrics_<data set>.json`` beside the log. Models that bring a loop of their own keep
it.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from metaf2n_arch.bridge.patching import Repair, replace_for_ours


def validation(self: Any, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
    """Validates on one data set, each process its share."""
    from metaf2n_arch.models.validation import Validation

    Validation(self, dataloader.dataset, current_iter, tb_logger, save_img).run()


def _apply(module: ModuleType) -> bool:
    replace_for_ours(module.SRModel, 'nondist_validation', validation)
    replace_for_ours(module.SRModel, 'dist_validation', validation)
    return True


_WHY = 'averages per image on rank 0, and one failure ends it'
REPAIRS = [Repair('validation', 'basicsr.models.sr_model', _apply, _WHY)]
