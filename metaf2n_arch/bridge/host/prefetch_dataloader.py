"""`basicsr.data.prefetch_dataloader`: in runs of ours prefetching starts one reader, and an error in it arrives.

Seen with BasicSR 1.4.2: `CPUPrefetcher` starts reading when built and again when the first epoch begins, so that with
`prefetch_mode: cpu` a thread and its workers stay blocked for ever; and an error while reading ends the thread
silently, after which training waits for ever. Without workers the thread makes the items itself and draws from the
training's own generators whenever it comes to run, so that no two runs are alike. A signal that reaches a worker while
it starts ends it, and with it training.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from torch.utils.data import DataLoader

from metaf2n_arch.bridge.patching import Repair, replace_for_ours, still_says
from metaf2n_arch.run import stopping


def run(self: Any) -> None:
    """Reads ahead; what goes wrong is handed over instead of lost."""
    try:
        for item in self.generator:
            self.queue.put(item)
    except BaseException as error:
        self.queue.put(error)
    self.queue.put(None)


def take_next(self: Any) -> Any:
    """Returns the next item, or raises what went wrong while reading it."""
    item = self.queue.get()
    if item is None:
        raise StopIteration
    if isinstance(item, BaseException):
        raise item
    return item


def start_later(self: Any, loader: Any) -> None:
    """Starts nothing yet: the runner resets the prefetcher at the beginning of every epoch."""
    self.ori_loader = loader
    self.loader = iter(())


def next_or_none(self: Any) -> Any:
    """Returns the next batch, or `None` at the end of the epoch."""
    if isinstance(self.loader, type(iter(()))):
        self.reset()
    return next(self.loader, None)


def _apply(module: ModuleType) -> bool:
    def iterate(self: Any) -> Any:
        """Reads ahead what workers make; without any, each batch is made when it is asked for."""
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
    Repair('prefetching', 'basicsr.data.prefetch_dataloader', _apply, 'leaks a reader, swallows its errors'),
    Repair('start-of-workers', 'basicsr.data.prefetch_dataloader', _start, 'loses them to a signal that comes then'),
]
