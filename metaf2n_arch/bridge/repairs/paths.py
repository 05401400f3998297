"""Output goes under the working directory, and a run that never began leaves nothing.

Seen with BasicSR 1.4.2: `experiments/`, `results/` and `tb_logger/` land beside the package, which is in site-packages
once it is installed, while `--auto_resume` looks under the working directory. A run that fails while it is being set up
leaves empty folders and has moved an earlier run of that name away. `make_exp_dirs` creates a folder for every key of
`path`, also where the value is a list. The root itself is chosen in `runner.working_root`, which `parse_options` and
`load_resume_state` use. May go when the host takes its root from the working directory.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from metaf2n_arch.bridge import runner
from metaf2n_arch.bridge.table import ORIGINALS, Repair, replace


def make_exp_dirs(opt: dict[str, Any]) -> None:
    """Makes the run's folders: what the host makes, less the keys of `path` that hold no path."""
    paths = {key: value for key, value in opt['path'].items() if isinstance(value, str)}
    ORIGINALS['basicsr.utils.misc.make_exp_dirs']({**opt, 'path': paths})


def _make_folders(module: ModuleType) -> bool:
    replace(module, 'mkdir_and_rename', runner.archive_and_make)
    replace(module, 'make_exp_dirs', make_exp_dirs)
    return True


def _note_the_beginning(module: ModuleType) -> bool:
    """The runner calls `reset_start_time` once, after the first iteration."""
    original = module.MessageLogger.reset_start_time

    def reset_start_time(self: Any) -> None:
        runner.has_begun()
        original(self)

    replace(module.MessageLogger, 'reset_start_time', reset_start_time)
    return True


REPAIRS = [
    Repair('folders', 'basicsr.utils.misc', _make_folders, 'writes into site-packages, leaves folders of failed runs'),
    Repair('beginning', 'basicsr.utils.logger', _note_the_beginning, 'cannot tell a run that failed before it began'),
]
