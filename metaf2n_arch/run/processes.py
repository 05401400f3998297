"""Processes of a training: the process group on CPUs and GPUs, and one seed for all.

Seen with BasicSR 1.4.2: `torchrun ... -m basicsr.train --launcher pytorch` on a machine without GPUs divides by zero.
The backend is fixed to nccl, and `model_to_device` asks CUDA for its device whatever `num_gpu` says. Here the backend
is nccl where GPUs are used, and gloo elsewhere.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from metaf2n_arch.run.course import course
from metaf2n_arch.utils.checks import OptionError


def init_dist(launcher: str, backend: str | None = None, **parameters: Any) -> None:
    """Joins the process group that `launcher` has prepared.

    Args:
        launcher: what started the processes: 'pytorch' (torchrun) or 'slurm' (srun).
        backend: 'nccl' or 'gloo'; by default nccl where there is a GPU. Without a GPU, nccl is replaced by gloo.
        parameters: arguments of `torch.distributed.init_process_group`; for slurm also `port`.

    Raises:
        ValueError: another launcher.
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
    """Sets the environment variables that torch reads, from those of Slurm."""
    nodes = os.environ['SLURM_NODELIST']
    first = subprocess.run(['scontrol', 'show', 'hostname', nodes], capture_output=True, text=True, check=True)
    os.environ['MASTER_ADDR'] = first.stdout.split()[0]
    if port is not None:
        os.environ['MASTER_PORT'] = str(port)
    os.environ.setdefault('MASTER_PORT', '29500')
    os.environ['WORLD_SIZE'] = os.environ['SLURM_NTASKS']
    os.environ['RANK'] = os.environ['SLURM_PROCID']
    os.environ['LOCAL_RANK'] = os.environ.get('SLURM_LOCALID', os.environ['SLURM_PROCID'])


def parallel_on_cpu(net: nn.Module, find_unused_parameters: bool) -> nn.Module:
    """Wraps a network on the CPU in DistributedDataParallel, without device ids."""
    return DistributedDataParallel(net, find_unused_parameters=find_unused_parameters)


def start(opt: dict[str, Any], args: argparse.Namespace) -> None:
    """Starts the process group, and seeds each process with the common seed plus its rank.

    Raises:
        OptionError: manual_seed is not a non-negative integer.
    """
    from basicsr.utils.dist_util import get_dist_info

    if opt['dist']:
        parameters = dict(opt.get('dist_params') or {}) if args.launcher == 'slurm' else {}
        if opt['num_gpu'] == 0:
            parameters['backend'] = 'gloo'
        init_dist(args.launcher, **parameters)
    else:
        print('Disable distributed.', flush=True)
    opt['rank'], opt['world_size'] = get_dist_info()
    seed = opt.get('manual_seed')
    course.seed_is_drawn = seed is None
    if seed is None:
        seed = _agreed(random.randint(1, 10000), opt['dist'])
    if not isinstance(seed, int) or seed < 0:
        raise OptionError(f'{args.opt}: manual_seed is {seed!r}, expected a non-negative integer or ~.')
    course.seeded = {phase for phase, block in opt['datasets'].items() if 'seed' in block}
    seed_all(opt, seed)


def seed_all(opt: dict[str, Any], seed: int) -> None:
    """Seeds this process, and writes the seed into the options of data sets that use one but have none of their own.

    BasicSR keeps the seed at the top of the options, where data sets do not see it.
    """
    from basicsr.utils import set_random_seed
    from basicsr.utils.registry import DATASET_REGISTRY

    opt['manual_seed'] = seed
    for phase, block in opt['datasets'].items():
        schema = getattr(DATASET_REGISTRY.get(block['type']), 'options_schema', None)
        if schema is not None and 'seed' in schema.model_fields and phase not in course.seeded:
            block['seed'] = seed
    set_random_seed(seed + opt['rank'])


def _agreed(seed: int, distributed: bool) -> int:
    """Returns the seed of rank 0, because all processes must shuffle the data in the same way."""
    if not distributed:
        return seed
    box = [seed]
    torch.distributed.broadcast_object_list(box, src=0)
    return box[0]
