"""Checks of an option file before anything is built: required keys, devices, patch sizes, files and folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from basicsr.utils.registry import DATASET_REGISTRY

from metaf2n_arch.utils.checks import DataError, OptionError, nearest
from metaf2n_arch.utils.registries import find

# Keys that BasicSR's runner requires; without one it ends with a KeyError, after it has made folders.
NEEDED = ['name', 'model_type', 'num_gpu', 'datasets', 'path']
NEEDED_TO_TRAIN = [
    'datasets.train',
    'datasets.train.batch_size_per_gpu',
    'datasets.train.num_worker_per_gpu',
    'train.total_iter',
    'logger.print_freq',
    'logger.save_checkpoint_freq',
    'logger.use_tb_logger',
]
NEEDED_TO_VALIDATE = ['val.save_img']


def check_keys(opt: dict[str, Any], is_train: bool, file: str) -> None:
    """Raises `OptionError` if a key is missing that BasicSR's runner needs, or the name is not valid for a folder."""
    needed = [*NEEDED, *(NEEDED_TO_TRAIN if is_train else NEEDED_TO_VALIDATE)]
    if is_train and opt.get('val') is not None:
        needed += ['val.val_freq', *NEEDED_TO_VALIDATE]
    datasets = opt.get('datasets')
    phases = list(datasets) if isinstance(datasets, dict) else []
    needed += [f'datasets.{phase}.{key}' for phase in phases for key in ('name', 'type')]
    for key in needed:
        current: Any = opt
        *parents, last = key.split('.')
        for i, part in enumerate(parents):
            current = current.get(part)
            if not isinstance(current, dict):
                raise OptionError(f'{file}: {".".join(parents[: i + 1])} is missing, expected a mapping of options.')
        if last not in current:
            raise OptionError(f'{file}: {key} is missing; it must be given.{nearest(last, current)}')
    name = opt['name']
    if not isinstance(name, str) or name in ('', '.', '..') or '/' in name or '\\' in name or not name.isprintable():
        raise OptionError(f"{file}: name is {name!r}, expected the name of a folder, in quotes if it is a number: '5'.")
    if is_train:
        for phase in phases:
            if phase.split('_')[0] not in ('train', 'val'):
                raise OptionError(f"{file}: datasets.{phase}: unknown phase; expected 'train', 'val' or 'val_<name>'.")


def check_device(opt: dict[str, Any], file: str) -> None:
    """Raises `OptionError` if `num_gpu` or `prefetch_mode` is wrong, or needs a GPU that is not there."""
    count = opt['num_gpu']
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise OptionError(f"{file}: num_gpu is {count!r}, expected 'auto' or a number of GPUs (0 trains on the CPU).")
    if count and not torch.cuda.is_available():
        raise OptionError(f"{file}: num_gpu is {count}, but torch finds no CUDA device. Set num_gpu: 0 or 'auto'.")
    for phase, block in opt['datasets'].items():
        mode, place = block.get('prefetch_mode'), f'{file}: datasets.{phase}.prefetch_mode'
        if mode not in (None, 'cpu', 'cuda'):
            raise OptionError(f"{place} is {mode!r}, expected null, 'cpu' or 'cuda'.")
        if mode == 'cuda' and count == 0:
            raise OptionError(f"{place} is 'cuda', but num_gpu is 0. Set it to null or 'cpu'.")
        if mode == 'cuda' and block.get('pin_memory') is not True and block['phase'] == 'train':
            raise OptionError(f"{place} is 'cuda', which needs pin_memory: true.")


def check_sizes(opt: dict[str, Any], file: str) -> None:
    """Raises `OptionError` if a patch size is not a multiple of the scale."""
    for phase, block in opt['datasets'].items():
        size, scale = block.get('gt_size'), block.get('scale')
        if isinstance(size, int) and isinstance(scale, int) and (size <= 0 or scale <= 0 or size % scale):
            raise OptionError(f'{file}: datasets.{phase}.gt_size is {size}, expected a multiple of the scale {scale}.')


def check_files(opt: dict[str, Any], file: str) -> None:
    """Raises `DataError` if a folder, meta-info file or weights file that the options name is missing or empty."""
    for phase, block in opt['datasets'].items():
        # The data sets of the demo make their files themselves.
        if getattr(find(DATASET_REGISTRY, block.get('type')), 'makes_files', False):
            continue
        for key, value in block.items():
            if key.startswith(('dataroot', 'meta_info')) and value is not None:
                for path in value if isinstance(value, list) else [value]:
                    _check_path(f'{file}: datasets.{phase}.{key}', path)
    for key, value in opt['path'].items():
        if value is not None and key.startswith('resume_state') and not Path(value).is_file():
            raise DataError(f'{file}: path.{key}: there is no file {value}; correct the path, or set it to null.')


def _check_path(place: str, path: Any) -> None:
    if not isinstance(path, str):
        raise OptionError(f'{place} is {path!r}, expected a path.')
    target = Path(path)
    if not target.exists():
        raise DataError(f'{place}: {path} does not exist (working directory {Path.cwd()}); correct the path.')
    if target.is_dir() and not any(target.iterdir()):
        raise DataError(f'{place}: the folder {path} is empty; put images there or correct the path.')
