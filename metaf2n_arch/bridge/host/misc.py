"""`basicsr.utils.misc`: repairs of `make_exp_dirs` and `mkdir_and_rename` in runs of this package.

Seen with BasicSR 1.4.2: `experiments/`, `results/` and `tb_logger/` are made beside the package, so in site-packages if
it is installed, while `--auto_resume` looks in the working directory. A run that fails during its set-up leaves empty
folders, and an earlier run of the same name has been renamed. `make_exp_dirs` makes a folder for every key of `path`,
also if the value is a list. Here all folders are made in the working directory (`folders.working_root`), and a run that
fails before its first iteration leaves nothing.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from metaf2n_arch.bridge.host.train import is_host_file
from metaf2n_arch.bridge.patching import ORIGINALS, Repair, replace_for_ours
from metaf2n_arch.run import folders


def make_exp_dirs(opt: dict[str, Any]) -> None:
    """Makes the folders of a run as BasicSR does, but not for keys of `path` whose value is not a text."""
    paths = {key: value for key, value in opt['path'].items() if isinstance(value, str)}
    ORIGINALS['basicsr.utils.misc.make_exp_dirs']({**opt, 'path': paths})


def mkdir_and_rename(path: str) -> None:
    """Makes a folder; an existing one is renamed first. In the stock runner this can be undone if the run fails."""
    folders.archive_and_make(path, remember=_within_the_runner())


def _within_the_runner() -> bool:
    """Whether the caller runs inside BasicSR's `train_pipeline` or `test_pipeline`, not in another program's loop."""
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
