"""`basicsr.utils.misc`: what `make_exp_dirs` and `mkdir_and_rename` do in runs of ours.

Seen with BasicSR 1.4.2: `experiments/`, `results/` and `tb_logger/` land beside the package, which is in site-packages
once it is installed, while `--auto_resume` looks under the working directory. A run that fails while it is being set up
leaves empty folders and has moved an earlier run of that name away. `make_exp_dirs` creates a folder for every key of
`path`, also where the value is a list. Instead output goes under the working directory (`folders.working_root`), and a
run that never began leaves nothing.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from metaf2n_arch.bridge.host.train import is_host_file
from metaf2n_arch.bridge.patching import ORIGINALS, Repair, replace_for_ours
from metaf2n_arch.run import folders


def make_exp_dirs(opt: dict[str, Any]) -> None:
    """Makes the run's folders: what the host makes, less the keys of `path` that hold no path."""
    paths = {key: value for key, value in opt['path'].items() if isinstance(value, str)}
    ORIGINALS['basicsr.utils.misc.make_exp_dirs']({**opt, 'path': paths})


def mkdir_and_rename(path: str) -> None:
    """Makes a folder, after moving one of that name away; for the stock runner alone it may be taken back."""
    folders.archive_and_make(path, remember=_within_the_runner())


def _within_the_runner() -> bool:
    """Whether the host's `train_pipeline` or `test_pipeline` is at work, and not a loop of somebody else's."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        code = frame.f_code
        if code.co_name in ('train_pipeline', 'test_pipeline') and is_host_file(code.co_filename):
            return True
    return False


def _apply(module: ModuleType) -> bool:
    replace_for_ours(module, 'mkdir_and_rename', mkdir_and_rename)
    replace_for_ours(module, 'make_exp_dirs', make_exp_dirs)
    return True


REPAIRS = [Repair('folders', 'basicsr.utils.misc', _apply, 'writes into site-packages, leaves folders of failed runs')]
