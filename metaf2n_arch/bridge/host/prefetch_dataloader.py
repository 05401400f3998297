"""`basicsr.data.prefetch_dataloader`: in runs of this package prefetching starts one thread, and reports its errors.

Seen with BasicSR 1.4.2: `CPUPrefetcher` starts to read when it is built, and again when the first epoch begins. With
`prefetch_mode: cpu` the first thread and its workers then stay blocked forever. An error while reading ends the thread
silently, and training waits forever. Without workers the thread itself loads the items, and draws from the generators
of the training at random times, so that no two runs are equal. A signal that reaches a worker while it starts ends the
worker, and so the training.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from torch.utils.data import DataLoader

from metaf2n_arch.bridge.patching import Repair, replace_for_ours, still_says
from metaf2n_arch.run import stopping


def run(self: Any) -> None:
    """Loads batches in advance; an error is put into the queue."""
    try:
        for item in self.generator:
            self.queue.put(item)
    except BaseException as error:
        self.queue.put(error)
    self.queue.put(None)


def take_next(self: Any) -> Any:
    """Returns the next batch, or raises the error that occurred while it was loaded."""
    item = self.queue.get()
    if item is None:
        raise StopIteration
    if isinstance(item, BaseException):
        raise item
    return item


def start_later(self: Any, loader: Any) -> None:
    """Does not start a thread yet: the runner resets the prefetcher at the beginning of every epoch."""
    self.ori_loader = loader
    self.loader = iter(())


def next_or_none(self: Any) -> Any:
    """Returns the next batch, or `None` at the end of the epoch."""
    if isinstance(self.loader, type(iter(()))):
        self.reset()
    return next(self.loader, None)


def _apply(module: ModuleType) -> bool:
    def iterate(self: Any) -> Any:
        """Loads batches in advance with workers; without workers, loads each batch when it is needed."""
        batches = DataLoader.__iter__(self)
        return module.PrefetchGenerator(batches, self.num_prefetch_queue) if self.num_workers else batches

    if still_says(module.PrefetchGenerator.run, 'except'):
        return False
    replace_for_ours(module.PrefetchGenerator, 'run', run)
    replace_for_ours(module.PrefetchGenerator, '__next__', take_next)
    replace_for_ours(module.PrefetchDataLoader, '__iter__', iterate)
    replace_for_ours(module.CPUPrefetcher, '__init__', start_later)
    replace_for_ours(module.CPUPrefetcher, 'next', next_or_none)
    return True


def _start(module: ModuleType) -> bool:
    for prefetcher in (module.CPUPrefetcher, module.CUDAPrefetcher):
        replace_for_ours(prefetcher, 'reset', stopping.held()(prefetcher.reset))
    return True


REPAIRS = [
    Repair('prefetching', 'basicsr.data.prefetch_dataloader', _apply, 'leaves a blocked thread, hides its errors'),
    Repair('start-of-workers', 'basicsr.data.prefetch_dataloader', _start, 'a signal during the start ends workers'),
]
