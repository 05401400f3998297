"""Training reaches its last iteration.

Seen with BasicSR 1.4.2: the runner rounds the iterations of an epoch up, while the loader drops the last, incomplete
batch, so that the epochs run out before `total_iter`: twelve iterations over seven images, four at a time, end after
the seventh as if all were well. A run that is resumed with a larger data set, smaller batches or fewer processes begins
in an epoch beyond the last by that count, and ends at once. Instead the epochs still needed are counted in what the
loader gives. May go when the host counts so.
"""

from __future__ import annotations

import logging
import math
from types import ModuleType
from typing import Any

from metaf2n_arch.bridge.course import course
from metaf2n_arch.bridge.table import ORIGINALS, Repair, replace
from metaf2n_arch.utils.checks import DataError


def create_train_val_dataloader(opt: dict[str, Any], logger: logging.Logger) -> tuple[Any, Any, list[Any], int, int]:
    """Builds the loaders like the host; counts the epochs from where the run goes on.

    Raises:
        DataError: the training set does not fill a single batch.
    """
    original = ORIGINALS['basicsr.train.create_train_val_dataloader']
    train_loader, train_sampler, val_loaders, _, total_iters = original(opt, logger)
    epoch, iteration = course.resumed
    if len(train_loader) == 0:
        raise DataError(
            f'datasets.train: {len(train_sampler)} images for each process do not fill a batch of '
            f'{train_loader.batch_size}; give more images, a larger dataset_enlarge_ratio or a smaller batch.'
        )
    total_epochs = epoch + math.ceil(max(0, total_iters - iteration) / len(train_loader))
    return train_loader, train_sampler, val_loaders, total_epochs, total_iters


def _count(module: ModuleType) -> bool:
    replace(module, 'create_train_val_dataloader', create_train_val_dataloader)
    return True


REPAIRS = [Repair('number of epochs', 'basicsr.train', _count, 'ends before total_iter where batches do not divide')]
