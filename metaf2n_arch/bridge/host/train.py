"""`basicsr.train`: repairs of `load_resume_state`, `create_train_val_dataloader` and `train_pipeline`.

Seen with BasicSR 1.4.2: no run resumes on a CPU, and `--auto_resume` looks in another folder than the run was written
to. The runner rounds the iterations of an epoch up, but the loader drops the last, incomplete batch. So the epochs end
before `total_iter`: with seven images in batches of four, twelve iterations end after the seventh without an error. A
run that is resumed with a larger data set, smaller batches or fewer processes starts in an epoch after the computed
last one, and ends at once. What was trained since the last checkpoint is lost if the program ends by an error.

For everybody: a run without a GPU resumes on the CPU, and the training is saved before the program ends. In runs of
this package a resume is exact, and the number of epochs is computed from the length of the loader.
"""

from __future__ import annotations

import logging
import math
import os
import sys
from types import ModuleType
from typing import Any

import torch

from metaf2n_arch.bridge import circle
from metaf2n_arch.bridge.patching import ORIGINALS, Repair, replace, replace_for_ours
from metaf2n_arch.run import beginning, folders, headers, rescue, resume
from metaf2n_arch.run.course import course
from metaf2n_arch.run.lock import release_folders
from metaf2n_arch.utils.checks import DataError


def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the state to resume from, or None; writes the paths of its networks into the options."""
    if not circle.is_ours():
        on_gpu = torch.cuda.is_available()
        return ORIGINALS['basicsr.train.load_resume_state'](opt) if on_gpu else resume.load_as_the_host(opt)
    opt['root_path'] = str(folders.working_root(opt['root_path']))
    course.from_program = True
    return beginning.begin(opt)


def create_train_val_dataloader(opt: dict[str, Any], logger: logging.Logger) -> tuple[Any, Any, list[Any], int, int]:
    """Builds the loaders as BasicSR does, checks image headers, and computes the number of epochs.

    Raises:
        DataError: the training set is smaller than a batch, or an image is bad, see `headers.check_headers`.
    """
    original = ORIGINALS['basicsr.train.create_train_val_dataloader']
    train_loader, train_sampler, val_loaders, _, total_iters = original(opt, logger)
    for loader in (train_loader, *val_loaders):
        headers.check_headers(loader.dataset)
    epoch, iteration = course.resumed
    if len(train_loader) == 0:
        raise DataError(
            f'datasets.train: {len(train_sampler)} images for each process do not fill a batch of '
            f'{train_loader.batch_size}; give more images, a larger dataset_enlarge_ratio or a smaller batch.'
        )
    total_epochs = epoch + math.ceil(max(0, total_iters - iteration) / len(train_loader))
    return train_loader, train_sampler, val_loaders, total_epochs, total_iters


def train_pipeline(root_path: str) -> None:
    """Trains as BasicSR does; if an error ends the training, it is saved first."""
    try:
        ORIGINALS['basicsr.train.train_pipeline'](root_path)
    except BaseException as error:
        rescue.save_before_the_end(error)
        raise
    finally:
        release_folders()


def adopt_program() -> None:
    """Repairs the module ``__main__`` of `python -m basicsr.train`, which is a second copy of `basicsr.train`."""
    program = sys.modules.get('__main__')
    is_train = hasattr(program, 'train_pipeline') and program is not sys.modules.get('basicsr.train')
    if program is not None and is_train and is_host_file(getattr(program, '__file__', None)):
        for name in ('load_resume_state', 'create_train_val_dataloader'):
            setattr(program, name, getattr(sys.modules['basicsr.train'], name))


def is_host_file(file: str | None) -> bool:
    """Whether a file is ``train.py`` or ``test.py`` of BasicSR."""
    hosts = [sys.modules.get(name) for name in ('basicsr.train', 'basicsr.test')]
    known = [os.path.realpath(host.__file__) for host in hosts if host is not None and host.__file__]
    return bool(file) and os.path.realpath(file or '') in known


def _resume(module: ModuleType) -> bool:
    replace(module, 'load_resume_state', load_resume_state)
    return True


def _end(module: ModuleType) -> bool:
    replace(module, 'train_pipeline', train_pipeline)
    return True


def _count(module: ModuleType) -> bool:
    replace_for_ours(module, 'create_train_val_dataloader', create_train_val_dataloader)
    return True


REPAIRS = [
    Repair('saving-at-the-end', 'basicsr.train', _end, 'loses what was trained since the last checkpoint', 'everybody'),
    Repair('resume', 'basicsr.train', _resume, 'calls CUDA, looks in another folder than it wrote to', 'everybody'),
    Repair('number-of-epochs', 'basicsr.train', _count, 'ends before total_iter if an epoch ends in part of a batch'),
]
