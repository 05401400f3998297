"""torchrun works on CPUs and on GPUs.

Seen with BasicSR 1.4.2: `torchrun ... -m basicsr.train --launcher pytorch` on a machine without GPUs divides by zero,
the backend is fixed to nccl, and `model_to_device` asks CUDA for its device whatever `num_gpu` says. Instead the
backend is nccl where GPUs are used and gloo elsewhere. May go when the host chooses so itself.
"""

from __future__ import annotations

import os
import subprocess
from types import ModuleType
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from metaf2n_arch.bridge.table import ORIGINALS, Repair, replace, still_says


def init_dist(launcher: str, backend: str | None = None, **parameters: Any) -> None:
    """Joins the process group that `launcher` ('pytorch' or 'slurm') has prepared.

    Args:
        launcher: who started the processes.
        backend: 'nccl' or 'gloo'; by default nccl where there is a GPU. Without one, nccl becomes gloo.
        parameters: for slurm `port`; for torch what `init_process_group` takes.
    """
    if launcher not in ('pytorch', 'slurm'):
        raise ValueError(f'Invalid launcher type: {launcher}')
    if mp.get_start_method(allow_none=True) is None:
        mp.set_start_method('spawn')
    if launcher == 'slurm':
        _adopt_slurm(parameters.pop('port', None))
    gpus = torch.cuda.device_count()
    if backend is None or (backend == 'nccl' and gpus == 0):
        backend = 'nccl' if gpus else 'gloo'
    if backend == 'nccl':
        rank = int(os.environ.get('LOCAL_RANK', os.environ['RANK']))
        torch.cuda.set_device(rank % gpus)
    dist.init_process_group(backend=backend, **parameters)


def _adopt_slurm(port: int | None) -> None:
    """Describes slurm's job in the variables that torch reads."""
    nodes = os.environ['SLURM_NODELIST']
    first = subprocess.run(['scontrol', 'show', 'hostname', nodes], capture_output=True, text=True, check=True)
    os.environ['MASTER_ADDR'] = first.stdout.split()[0]
    if port is not None:
        os.environ['MASTER_PORT'] = str(port)
    os.environ.setdefault('MASTER_PORT', '29500')
    os.environ['WORLD_SIZE'] = os.environ['SLURM_NTASKS']
    os.environ['RANK'] = os.environ['SLURM_PROCID']
    os.environ['LOCAL_RANK'] = os.environ.get('SLURM_LOCALID', os.environ['SLURM_PROCID'])


def model_to_device(self: Any, net: nn.Module) -> nn.Module:
    """Moves `net` to the model's device; on a CPU, wraps it for several processes without naming a GPU."""
    if self.opt['dist'] and self.device.type == 'cpu':
        unused = self.opt.get('find_unused_parameters', False)
        return DistributedDataParallel(net.to(self.device), find_unused_parameters=unused)
    return ORIGINALS['basicsr.models.base_model.BaseModel.model_to_device'](self, net)


def _start(module: ModuleType) -> bool:
    if not still_says(module._init_dist_pytorch, '% num_gpus'):
        return False
    replace(module, 'init_dist', init_dist)
    return True


def _wrap(module: ModuleType) -> bool:
    if not still_says(module.BaseModel.model_to_device, 'device_ids=[torch.cuda.current_device()]'):
        return False
    replace(module.BaseModel, 'model_to_device', model_to_device)
    return True


REPAIRS = [
    Repair('process group', 'basicsr.utils.dist_util', _start, 'divides by zero without GPUs, knows nccl only'),
    Repair('parallel on CPUs', 'basicsr.models.base_model', _wrap, 'asks CUDA for a device whatever num_gpu says'),
]
