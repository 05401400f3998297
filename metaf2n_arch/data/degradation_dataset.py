"""Data set of single clean images and a degradation draw for each, for training without meta-learning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from basicsr.utils.registry import DATASET_REGISTRY
from pydantic import Field, model_validator
from torch.utils.data import Dataset

from metaf2n_arch.data import patches
from metaf2n_arch.data.data_set_options import DegradedOptions, require_storage
from metaf2n_arch.data.sources import ImageSource
from metaf2n_arch.data.visits import Visits
from metaf2n_arch.images.arrays import to_tensor
from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.utils.options import parse_block
from metaf2n_arch.utils.registries import register


class DegradationDatasetOptions(DegradedOptions):
    """Options of `DegradationDataset`."""

    dataroot_gt: str
    """Clean images: a folder or a .lmdb folder."""
    meta_info: str | None = None
    """Text file that lists the images to use."""
    gt_size: int | None = Field(default=256, ge=1)
    """Side of the random patch; null: the whole image, cut to a multiple of scale."""
    use_hflip: bool = True
    """Random horizontal flips."""
    use_rot: bool = False
    """Random quarter turns."""

    @model_validator(mode='after')
    def _size_fits(self) -> DegradationDatasetOptions:
        if self.gt_size is not None and self.gt_size % self.scale:
            raise ValueError(f'gt_size {self.gt_size} is not divisible by scale {self.scale}')
        return self


@register(DATASET_REGISTRY)
class DegradationDataset(Dataset[dict[str, Any]]):
    """One item is one clean image and the draw that the model degrades it by, on its device.

    Each visit in training draws patch, flip and degradation anew, see `Visits`. Outside training an item is always the
    same: the middle of the image, unflipped, and one draw.

    Items:
        ``gt`` (3, H, W) RGB float32 in [0, 1]; ``degradation``: tensors of `DegradationParams.to_tensors`; ``gt_path``,
        and the same as ``lq_path``, from which the host takes the name of a result.

    Raises:
        OptionError, DataError: see `DegradationDatasetOptions`; folder and headers are looked at on construction.
    """

    options_schema = DegradationDatasetOptions

    def __init__(self, opt: Mapping[str, Any]) -> None:
        where = f'datasets.{opt.get("phase", "train")}'
        self.options = parse_block(DegradationDatasetOptions, opt, where)
        self.opt = opt
        require_storage(self.options, {'dataroot_gt': self.options.dataroot_gt}, where)
        self.images = ImageSource(
            self.options.dataroot_gt, self.options.meta_info, f'{where}.dataroot_gt', self.options.skips
        )
        least = self.options.gt_size or self.options.scale
        self.images.require_at_least(least, least, 'the gt_size' if self.options.gt_size else 'the scale')
        self._visits = Visits(self.options.seed, self.options.phase == 'train')

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = self._visits.generator(index)
        path = self.images.path(int(index))
        return {
            'gt': to_tensor(self._patch(int(index), rng)),
            'degradation': self.options.degradation.sample(rng).to_tensors(),
            'gt_path': path,
            'lq_path': path,
        }

    def _patch(self, index: int, rng: np.random.Generator) -> np.ndarray:
        o = self.options
        image = self.images.read(index)
        height, width = image.shape[:2]
        if min(height, width) < (o.gt_size or o.scale):
            raise DataError(f'{self.images.path(index)} is {height}x{width}, smaller than {o.gt_size or o.scale}.')
        height, width = o.gt_size or height - height % o.scale, o.gt_size or width - width % o.scale
        if o.phase != 'train':
            return patches.centre_patch(image, height, width)
        return patches.augment(patches.random_patch(image, height, width, rng), o.use_hflip, o.use_rot, rng)
