"""Random generators for the visits of an item: a new draw at each visit, independent of the number of workers."""

from __future__ import annotations

from collections import Counter

import numpy as np
from torch.utils.data import get_worker_info

from metaf2n_arch.utils.rng import Visit, numpy_generator


class Visits:
    """Returns the random generator for each visit of an item.

    - In training, for a `Visit` from the sampler, the key is (seed, epoch, position). So the draw does not depend on
      the number of workers or processes.
    - In training, for a plain integer, as in a user's own loop, the key contains the number of visits in this process
      and, in a worker, the worker's seed, which torch draws for each epoch. The draws differ, but depend on the
      workers.
    - Outside training the key is the index: an item is always the same.

    Args:
        seed: seed of the data set.
        training: whether the data set is used for training.
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
