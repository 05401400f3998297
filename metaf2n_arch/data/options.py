"""What every data set of ours may be told in an option file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from metaf2n_arch.degradation import DegradationConfig
from metaf2n_arch.utils.checks import OptionError
from metaf2n_arch.utils.options import Strict


class Storage(Strict):
    """How the host spells the storage of images."""

    type: Literal['disk', 'lmdb'] = Field(default='disk', description='disk: folders; lmdb: roots end in .lmdb')


class DatasetOptions(Strict):
    """Keys the host reads or adds (see its documentation), and the seed."""

    name: str = Field(default='', description='name of the set in logs and result folders')
    type: str = Field(default='', description='registered name of the data set class')
    phase: Literal['train', 'val', 'test'] = Field(
        default='train', description='filled in by the host; only train draws anew at each visit'
    )
    scale: int = Field(default=4, ge=1, description='side of the clean image over side of the degraded one')
    io_backend: Storage = Field(default=Storage(), description='where images are stored')
    seed: int = Field(default=0, ge=0, description='what all draws are derived from; give it the top-level manual_seed')
    num_worker_per_gpu: int = Field(default=0, ge=0, description='loader processes')
    batch_size_per_gpu: int = Field(default=1, ge=1, description='items per batch')
    use_shuffle: bool = Field(default=True, description='read by the host')
    dataset_enlarge_ratio: float = Field(default=1, gt=0, description='visits to an item per epoch')
    prefetch_mode: Literal['cpu', 'cuda'] | None = Field(default=None, description='read by the host')
    num_prefetch_queue: int = Field(default=1, ge=1, description='read by the host')
    pin_memory: bool = Field(default=False, description='read by the host')
    persistent_workers: bool = Field(default=False, description='read by the host')


class DegradedOptions(DatasetOptions):
    """A data set that draws degradations."""

    degradation: DegradationConfig = Field(
        default=DegradationConfig(), description='ranges of the draw; its scale is that of the data set'
    )

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
