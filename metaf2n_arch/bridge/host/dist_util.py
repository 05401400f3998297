"""`basicsr.utils.dist_util`: `init_dist` starts a process group on CPUs and on GPUs, for everybody."""

from __future__ import annotations

from types import ModuleType

from metaf2n_arch.bridge.patching import Repair, replace, still_says
from metaf2n_arch.run import processes


def _start(module: ModuleType) -> bool:
    if not still_says(module._init_dist_pytorch, '% num_gpus'):
        return False
    replace(module, 'init_dist', processes.init_dist)
    return True


REPAIRS = [
    Repair(
        'process-group', 'basicsr.utils.dist_util', _start, 'divides by zero without GPUs, has nccl only', 'everybody'
    ),
]
