"""Random generators with an explicit key, independent of any global state.

The key is (seed, epoch, position in the epoch). So a data set gives the same items with any number of workers or
processes, and an item gets another draw each time it is visited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # commands that only list files draw numbers too, and need not load torch
    import torch


class Visit(int):
    """An index into a data set, with the epoch and the position in the epoch (over all processes).

    The sampler yields these instead of plain integers. A `Visit` behaves as its integer everywhere and can be pickled
    for a worker. The data sets of this package read `epoch` and `position` from it to seed their draw.
    """

    epoch: int
    position: int

    def __new__(cls, index: int, epoch: int = 0, position: int | None = None) -> Visit:
        self = super().__new__(cls, index)
        self.epoch = epoch
        self.position = int(index) if position is None else position
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Visit, (int(self), self.epoch, self.position)

    @classmethod
    def of(cls, index: int) -> Visit:
        """Returns `index` itself if it is a `Visit`, else the first visit to that index."""
        return index if isinstance(index, Visit) else cls(index)


def numpy_generator(*key: int) -> np.random.Generator:
    """Returns a generator that depends on every part of `key` (non-negative integers) and on nothing else."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([int(k) for k in key])))


def torch_generator(*key: int) -> torch.Generator:
    """Returns a CPU generator that depends on every part of `key` and on nothing else."""
    import torch

    seed = int(np.random.SeedSequence([int(k) for k in key]).generate_state(1, np.uint64)[0] >> np.uint64(1))
    return torch.Generator().manual_seed(seed)
