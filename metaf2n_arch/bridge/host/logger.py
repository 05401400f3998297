"""`basicsr.utils.logger`: what `MessageLogger` does in runs of ours.

It notes tensorboard's writer, so that a run that is stopped loses nothing of it; it shows progress on a terminal; and
it tells that training has begun, since the runner calls `reset_start_time` once, after the first iteration.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from metaf2n_arch.bridge.patching import ORIGINALS, Repair, replace_for_ours
from metaf2n_arch.run import folders, record
from metaf2n_arch.run.course import course

_HOST = 'basicsr.utils.logger.MessageLogger'


def start(self: Any, opt: dict[str, Any], start_iter: int = 1, tb_logger: Any = None) -> None:
    """Begins the log, and notes the writer."""
    course.tb_logger = tb_logger
    ORIGINALS[f'{_HOST}.__init__'](self, opt, start_iter, tb_logger)


def log(self: Any, log_vars: dict[str, Any]) -> None:
    """Writes a line of the log and of the record, and shows it in the bar."""
    record.values(log_vars)
    if course.bar is not None:
        course.bar.show(log_vars)
        course.bar.advance(log_vars['iter'])
    ORIGINALS[f'{_HOST}.__call__'](self, log_vars)


def reset_start_time(self: Any) -> None:
    """Called once, after the first iteration."""
    folders.has_begun()
    ORIGINALS[f'{_HOST}.reset_start_time'](self)


def _apply(module: ModuleType) -> bool:
    replace_for_ours(module.MessageLogger, '__init__', start)
    replace_for_ours(module.MessageLogger, '__call__', log)
    replace_for_ours(module.MessageLogger, 'reset_start_time', reset_start_time)
    return True


_WHY = "loses tensorboard's last minutes, shows no progress, cannot tell a run that never began"
REPAIRS = [Repair('writer-and-bar', 'basicsr.utils.logger', _apply, _WHY)]
