"""Options that all data sets of this package have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from metaf2n_arch.degradation import DegradationConfig
from metaf2n_arch.utils.checks import OptionError
from metaf2n_arch.utils.options import Strict


class Storage(Strict):
    """The block ``io_backend``: how images are stored."""

    type: Literal['disk', 'lmdb'] = 'disk'
    """``disk``: folders of images; ``lmdb``: folders whose names end in ``.lmdb``."""


class LoaderOptions(Strict):
    """Keys of every data set, also of BasicSR's own: those that the runner and the data loader read."""

    name: str = ''
    """Name of the data set in logs and result folders."""
    type: str = ''
    """Registered name of the data set class."""
    phase: Literal['train', 'val', 'test'] = 'train'
    """The runner sets it from the name of the block. Only ``train`` makes a new random draw at each visit."""
    scale: int = Field(default=4, ge=1)
    """Upscaling factor: side of the clean image divided by side of the degraded one."""
    io_backend: Storage = Storage()
    """How images are stored."""
    num_worker_per_gpu: int = Field(default=0, ge=0)
    """Number of processes that load data, per GPU; 0 loads in the training process."""
    batch_size_per_gpu: int = Field(default=1, ge=1)
    """Items in a batch, per GPU."""
    use_shuffle: bool = True
    """Whether items are visited in random order in training."""
    dataset_enlarge_ratio: float = Field(default=1, gt=0)
    """How often each item is visited in an epoch; use large values for small data sets."""
    same_order: bool = False
    """In training, if the processes cannot share the items of an epoch evenly: whether the last items are left out,
    instead of giving some items twice. The order of the data is then the same for any number of processes.
    """
    prefetch_mode: Literal['cpu', 'cuda'] | None = None
    """Loading batches in advance: ``cpu`` in a thread, ``cuda`` onto the GPU (needs ``pin_memory``); null does not."""
    num_prefetch_queue: int = Field(default=1, ge=1)
    """Number of batches loaded in advance with ``prefetch_mode: cpu``."""
    pin_memory: bool = False
    """Whether batches are put into page-locked memory, from which copies to a GPU are faster."""
    skip_unreadable: bool = False
    """In training: whether an image that cannot be read is replaced by another one; ``unreadable.txt`` lists them."""
    persistent_workers: bool = False
    """Whether the loading processes are kept from one epoch to the next."""


class DatasetOptions(LoaderOptions):
    """Keys that all data sets of this package have."""

    seed: int = Field(default=0, ge=0)
    """Seed of all random draws; the runner sets it to ``manual_seed``, if it is not given here."""

    @property
    def skips(self) -> bool:
        """Whether unreadable images are skipped: `skip_unreadable`, but only in training."""
        return self.skip_unreadable and self.phase == 'train'


class DegradedOptions(DatasetOptions):
    """Keys of a data set that draws degradations."""

    degradation: DegradationConfig = DegradationConfig()
    """Ranges and probabilities of the degradation; its scale is that of the data set."""

    @model_validator(mode='before')
    @classmethod
    def _one_scale(cls, values: Any) -> Any:
        """Copies the scale of the data set into the block ``degradation``, which BasicSR does not do."""
        block = values.get('degradation') if isinstance(values, Mapping) else None
        if not isinstance(values, Mapping) or not (block is None or isinstance(block, Mapping)):
            return values
        return {**values, 'degradation': {'scale': values.get('scale', 4), **(block or {})}}

    @model_validator(mode='after')
    def _scales_agree(self) -> DegradedOptions:
        if self.degradation.scale != self.scale:
            raise ValueError(f'degradation.scale is {self.degradation.scale} but scale is {self.scale}; remove it')
        return self


def require_storage(options: DatasetOptions, roots: Mapping[str, str], where: str) -> None:
    """Raises `OptionError` if `io_backend` is ``lmdb`` and the name of a folder does not end in ``.lmdb``."""
    for key, root in roots.items():
        if options.io_backend.type == 'lmdb' and not str(root).endswith('.lmdb'):
            raise OptionError(f'{where}.{key} is {root!r}, expected a folder ending in .lmdb for io_backend lmdb.')
