"""Data set of clean images, each with a drawn degradation, for training without meta-learning."""

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
    """Folder of clean images, or an LMDB (a folder ending in .lmdb)."""
    meta_info: str | None = None
    """Text file that lists the images to use; null uses all."""
    gt_size: int | None = Field(default=256, ge=1)
    """Side of the random patch, in pixels of the clean image; null uses the whole image, cropped to a multiple of the
    scale.
    """
    use_hflip: bool = True
    """Whether half of the patches, chosen at random, are flipped left to right."""
    use_rot: bool = False
    """Whether patches are rotated by a random multiple of 90 degrees."""

    @model_validator(mode='after')
    def _size_fits(self) -> DegradationDatasetOptions:
        if self.gt_size is not None and self.gt_size % self.scale:
            raise ValueError(f'gt_size {self.gt_size} is not divisible by scale {self.scale}')
        return self


@register(DATASET_REGISTRY)
class DegradationDataset(Dataset[dict[str, Any]]):
    """Clean images, each with a drawn degradation, which the model applies on its device.

    In training each visit draws patch, flip and degradation again, see `Visits`. Outside training an item is always the
    same: the centre of the image, not flipped, with one fixed degradation.

    Items:
        ``gt`` (3, H, W) RGB float32 in [0, 1]; ``degradation``: tensors of `DegradationParams.to_tensors`; ``gt_path``;
        ``lq_path``, equal to ``gt_path``, from which BasicSR takes the name of a result.

    Raises:
        OptionError: a wrong option, see `DegradationDatasetOptions`.
        DataError: the folder has no images, or a header shows an image that is damaged or too small; checked when the
            data set is built.
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
