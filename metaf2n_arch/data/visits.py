"""Visits of an item: another random draw at each, and the same whatever the number of workers."""

from __future__ import annotations

from collections import Counter

import numpy as np
from torch.utils.data import get_worker_info

from metaf2n_arch.utils.rng import Visit, numpy_generator


class Visits:
    """Gives the random generator of each visit to an item.

    - In training, for an index that the sampler handed out as a `Visit`: the key is (seed, epoch, position), so neither
      the number of workers nor of processes matters.
    - In training, for a plain integer (a loop of one's own): the key holds how often this process has seen it and, in a
      worker, the worker's own seed, which torch draws anew for each epoch. Visits differ, but depend on the workers.
    - Outside training: the key is the index; an item is always the same.
    """

    def __init__(self, seed: int, training: bool) -> None:
        self.seed = seed
        self.training = training
        self._seen: Counter[int] = Counter()

    def generator(self, index: int) -> np.random.Generator:
        """Returns the generator of this visit to `index`."""
        if not self.training:
            return numpy_generator(self.seed, 0, int(index), 0, 2)
        if isinstance(index, Visit):
            return numpy_generator(self.seed, index.epoch, index.position)
        self._seen[int(index)] += 1
        worker = get_worker_info()
        return numpy_generator(self.seed, worker.seed if worker else 0, int(index), self._seen[int(index)], 1)
