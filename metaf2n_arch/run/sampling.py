"""Sampling that depends on the seed, the epoch and the position, and not on the number of workers or processes.

Seen with BasicSR 1.4.2: `EnlargedSampler` shuffles by the epoch only and ignores `manual_seed`. Workers get the same
seeds in every epoch, so that each image gets the same augmentations again. The augmentations depend on the number of
workers. Here the sampler yields `Visit`s (index, epoch, position), and the generators of Python, NumPy and torch are
seeded from the visit before the item is read. So the augmentations of an item are the same with any number of workers
and processes, and a resume in the middle of an epoch is exact.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from metaf2n_arch.run.unreadable import Unreadable
from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.utils.rng import Visit, numpy_generator, torch_generator


def visits(sampler: Any) -> Iterator[Visit]:
    """Yields this process's visits of the epoch: rank r of n takes positions r, r + n, ... of one common random order.

    Without a seed the order is that of BasicSR. With a seed it does not depend on the number of processes. If that
    number does not divide the length of the epoch, the last positions are filled from the beginning of the order, or,
    with `same_order`, left out.
    """
    size = len(sampler.dataset)
    seed = getattr(sampler, 'seed', None)
    if seed is None:
        generator, length = torch.Generator().manual_seed(sampler.epoch), sampler.total_size
    else:
        generator = torch_generator(seed, sampler.epoch)
        length = getattr(sampler, 'enlarged_size', sampler.total_size)
        length = length if getattr(sampler, 'same_order', False) else min(length, sampler.total_size)
    order = torch.randperm(length, generator=generator).tolist()
    start_epoch, start = getattr(sampler, 'start', (0, 0))
    first = start if sampler.epoch == start_epoch else 0
    for position in range(first + sampler.rank, sampler.total_size, sampler.num_replicas):
        yield Visit(order[position % length] % size, sampler.epoch, position)


def start_at(sampler: Any, epoch: int, position: int) -> None:
    """Makes `epoch` begin at `position`, a multiple of the number of processes, to resume in the middle of it."""
    sampler.start = (epoch, position)


MOST_SKIPPED = 50
"""Number of unreadable images in a row that ends training; then the fault is probably not in single images."""


class SeededItems(Dataset[Any]):
    """A data set whose items, indexed by a `Visit`, depend on (seed, epoch, position) only.

    Args:
        dataset: a data set of BasicSR.
        seed: seed of all draws.
        unreadable: list for items that cannot be read; others are taken in their place. None: their errors are raised.
    """

    def __init__(self, dataset: Dataset[Any], seed: int, unreadable: Unreadable | None = None) -> None:
        self.dataset = dataset
        self.seed = seed
        self.unreadable = unreadable

    def __getitem__(self, index: int) -> Any:
        if not isinstance(index, Visit):
            return self.dataset[index]
        visit = index
        for attempt in range(MOST_SKIPPED):
            try:
                with seeded(self.seed, index.epoch, index.position, *([attempt] if attempt else [])):
                    return self.dataset[visit]
            except DataError as error:
                if self.unreadable is None:
                    raise
                self.unreadable.add(str(error))
            # Drawn from the visit only, so that the replacement is the same with any number of workers.
            other = numpy_generator(self.seed, index.epoch, index.position, attempt + 1).integers(len(self))
            visit = Visit(int(other), index.epoch, index.position)
        raise DataError(
            f'{MOST_SKIPPED} images in a row could not be read, the last of them: {self.unreadable}; '
            'check the folders of datasets.train.'
        )

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]  # a map-style data set has a length

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__') or name == 'dataset':
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets attributes on the wrapped data set, for code in workers that sets attributes of its data set."""
        own = name in ('dataset', 'seed', 'unreadable') and name not in vars(self)
        object.__setattr__(self if own else self.dataset, name, value)


def read_seeded(loader: DataLoader[Any], seed: int, unreadable: Unreadable | None = None) -> None:
    """Makes a loader read its items through `SeededItems`; `loader.dataset` stays the data set itself."""

    def iterator() -> Any:
        twin = copy.copy(loader)
        vars(twin)['dataset'] = SeededItems(loader.dataset, seed, unreadable)  # torch forbids setting this attribute
        return type(loader)._get_iterator(twin)

    loader._get_iterator = iterator  # type: ignore[method-assign]  # hides the method of the class


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Seeds the global generators with `key`; in the training process their states are restored afterwards."""
    in_training_process = get_worker_info() is None
    if in_training_process:
        states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 - as below
    seed = int(numpy_generator(*key).integers(2**32))
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - BasicSR's augmentations draw from it
    # Not torch.manual_seed: it also queues a CUDA call each time.
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        if in_training_process:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002 - as above
            torch.set_rng_state(states[2])
