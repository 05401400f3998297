"""Options of every data set of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from metaf2n_arch.degradation import DegradationConfig
from metaf2n_arch.utils.checks import OptionError
from metaf2n_arch.utils.options import Strict


class Storage(Strict):
    """How the host spells the storage of images."""

    type: Literal['disk', 'lmdb'] = 'disk'
    """``disk``: folders of images; ``lmdb``: folders whose names end in ``.lmdb``."""


class LoaderOptions(Strict):
    """Keys of every data set, the host's own included: what the runner and its data loader read."""

    name: str = ''
    """Name of the set in logs and result folders."""
    type: str = ''
    """Registered name of the data set class."""
    phase: Literal['train', 'val', 'test'] = 'train'
    """Filled in by the runner from the block's name; only ``train`` draws anew at each visit."""
    scale: int = Field(default=4, ge=1)
    """Side of the clean image over side of the degraded one."""
    io_backend: Storage = Storage()
    """Where images are stored."""
    num_worker_per_gpu: int = Field(default=0, ge=0)
    """Processes that load data, per GPU; 0 loads in the main process."""
    batch_size_per_gpu: int = Field(default=1, ge=1)
    """Items of a batch, per GPU."""
    use_shuffle: bool = True
    """Whether items are visited in random order in training."""
    dataset_enlarge_ratio: float = Field(default=1, gt=0)
    """Visits to each item in an epoch; large values make long epochs of small sets."""
    same_order: bool = False
    """In training: whether an epoch leaves out the last items where they do not divide among the processes, instead of
    giving some twice, so that the order of data is the same for any number of processes.
    """
    prefetch_mode: Literal['cpu', 'cuda'] | None = None
    """Fetching ahead: ``cpu`` in a thread, ``cuda`` onto the GPU (needs ``pin_memory``); None does not."""
    num_prefetch_queue: int = Field(default=1, ge=1)
    """Batches fetched ahead with ``prefetch_mode: cpu``."""
    pin_memory: bool = False
    """Whether batches lie in page-locked memory, from which copies to a GPU are faster."""
    skip_unreadable: bool = False
    """In training: whether another image is taken for one that cannot be read; ``unreadable.txt`` lists them."""
    persistent_workers: bool = False
    """Whether loader processes live on from epoch to epoch."""


class DatasetOptions(LoaderOptions):
    """Keys of every data set of ours."""

    seed: int = Field(default=0, ge=0)
    """What all draws are derived from; the runner hands on the top-level ``manual_seed``."""

    @property
    def skips(self) -> bool:
        """Whether unreadable images are passed over: where asked, in training alone."""
        return self.skip_unreadable and self.phase == 'train'


class DegradedOptions(DatasetOptions):
    """A data set that draws degradations."""

    degradation: DegradationConfig = DegradationConfig()
    """Ranges of the draw; its scale is that of the data set."""

    @model_validator(mode='before')
    @classmethod
    def _one_scale(cls, values: Any) -> Any:
        """Hands the data set's scale to the degradation, where the host cannot reach."""
        block = values.get('degradation') if isinstance(values, Mapping) else None
        if not isinstance(values, Mapping) or not (block is None or isinstance(block, Mapping)):
            return values
        return {**values, 'degradation': {'scale': values.get('scale', 4), **(block or {})}}

    @model_validator(mode='after')
    def _scales_agree(self) -> DegradedOptions:
        if self.degradation.scale != self.scale:
            raise ValueError(f'degradation.scale is {self.degradation.scale} but scale is {self.scale}; leave it out')
        return self


def require_storage(options: DatasetOptions, roots: Mapping[str, str], where: str) -> None:
    """Raises `OptionError` if `io_backend` promises LMDB and a root is none."""
    for key, root in roots.items():
        if options.io_backend.type == 'lmdb' and not str(root).endswith('.lmdb'):
            raise OptionError(f'{where}.{key} is {root!r}, expected a folder ending in .lmdb for io_backend lmdb.')
