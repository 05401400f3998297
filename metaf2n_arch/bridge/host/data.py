"""`basicsr.data`: repairs of `build_dataset` and `build_dataloader` in runs of this package.

A data set of BasicSR or of this package without images is an error that names its folders. A training loader gets the
seed, seeds the random generators for each item (see `run.sampling`), and is recorded, so that a resume finds its
position in the epoch. Samplers and data sets of other packages are not changed: a sampler keeps its own order, and
`loader.dataset` is the data set itself.
"""

from __future__ import annotations

import logging
from functools import partial
from types import ModuleType
from typing import Any

from torch.utils.data import IterableDataset

from metaf2n_arch.bridge import circle
from metaf2n_arch.bridge.patching import ORIGINALS, Repair, replace_for_ours
from metaf2n_arch.run import data_files, data_sets
from metaf2n_arch.run.course import course
from metaf2n_arch.run.sampling import read_seeded
from metaf2n_arch.run.stopping import outlast_signals
from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.utils.rng import torch_generator


def build_dataset(dataset_opt: dict[str, Any]) -> Any:
    """Returns the data set that the check of the options has built, or builds it.

    Raises:
        DataError: it has no images.
    """
    data_set = data_sets.take(dataset_opt)
    if data_set is not None:
        text = f'Dataset [{type(data_set).__name__}] - {dataset_opt["name"]} is built.'
        logging.getLogger('basicsr').info(text)
        return data_set
    data_set = ORIGINALS['basicsr.data.build_dataset'](dataset_opt)
    known = type(data_set).__module__.startswith(('basicsr.', 'metaf2n_arch.'))
    if known and not isinstance(data_set, IterableDataset) and len(data_set) == 0:
        places = data_files.roots(dataset_opt)
        raise DataError(f'data set {dataset_opt["name"]}: found no images ({places}); correct the folder or list.')
    return data_set


def build_dataloader(
    dataset: Any,
    dataset_opt: dict[str, Any],
    num_gpu: int = 1,
    dist: bool = False,
    sampler: Any = None,
    seed: Any = None,
) -> Any:
    """Builds a loader as BasicSR does; for training, seeds the sampler and the items, and records the sampler."""
    from basicsr.data.data_sampler import EnlargedSampler

    original = ORIGINALS['basicsr.data.build_dataloader']
    loader = original(dataset, dataset_opt, num_gpu=num_gpu, dist=dist, sampler=sampler, seed=seed)
    if dataset_opt['phase'] != 'train' or sampler is None:
        return loader
    # Without this each epoch draws from the generator that the training uses.
    loader.generator = torch_generator(0 if seed is None else seed)
    loader.worker_init_fn = partial(start_worker, loader.worker_init_fn)
    visiting = type(sampler).__iter__ is EnlargedSampler.__iter__
    if visiting and seed is not None:
        sampler.seed = seed
        if not isinstance(dataset, IterableDataset):
            read_seeded(loader, seed, course.unreadable if dataset_opt.get('skip_unreadable') else None)
    course.begin(sampler if visiting else None, loader.batch_size)
    return loader


def start_worker(original: Any, worker: int) -> None:
    """Initialises a worker process of a training loader."""
    circle.join()
    if original is not None:
        original(worker)
    outlast_signals(worker)


def _datasets(module: ModuleType) -> bool:
    replace_for_ours(module, 'build_dataset', build_dataset)
    return True


def _loader(module: ModuleType) -> bool:
    replace_for_ours(module, 'build_dataloader', build_dataloader)
    return True


REPAIRS = [
    Repair('empty-data-sets', 'basicsr.data', _datasets, 'divides by zero without images'),
    Repair('augmentations', 'basicsr.data', _loader, 'repeats the same augmentations every epoch'),
]
