"""`basicsr.utils.logger`: repairs of `MessageLogger` in runs of this package.

It keeps TensorBoard's writer, so that a run that is stopped loses nothing there. It shows a progress bar on a terminal.
It records that training has begun: the runner calls `reset_start_time` once, after the first iteration.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from metaf2n_arch.bridge.patching import ORIGINALS, Repair, replace_for_ours
from metaf2n_arch.run import folders, record
from metaf2n_arch.run.course import course

_HOST = 'basicsr.utils.logger.MessageLogger'


def start(self: Any, opt: dict[str, Any], start_iter: int = 1, tb_logger: Any = None) -> None:
    """Starts the log, and keeps TensorBoard's writer."""
    course.tb_logger = tb_logger
    ORIGINALS[f'{_HOST}.__init__'](self, opt, start_iter, tb_logger)


def log(self: Any, log_vars: dict[str, Any]) -> None:
    """Writes a line into the log and into the record, and shows the losses in the progress bar."""
    record.values(log_vars)
    if course.bar is not None:
        course.bar.show(log_vars)
        course.bar.advance(log_vars['iter'])
    ORIGINALS[f'{_HOST}.__call__'](self, log_vars)


def reset_start_time(self: Any) -> None:
    """Records that training has begun; the runner calls this once, after the first iteration."""
    folders.has_begun()
    ORIGINALS[f'{_HOST}.reset_start_time'](self)


def _apply(module: ModuleType) -> bool:
    replace_for_ours(module.MessageLogger, '__init__', start)
    replace_for_ours(module.MessageLogger, '__call__', log)
    replace_for_ours(module.MessageLogger, 'reset_start_time', reset_start_time)
    return True


_WHY = "loses TensorBoard's last minutes, shows no progress, keeps folders of runs that failed at once"
REPAIRS = [Repair('writer-and-bar', 'basicsr.utils.logger', _apply, _WHY)]
