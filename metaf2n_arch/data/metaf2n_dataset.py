"""Data set of meta-training tasks: faces and natural images with one common degradation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from basicsr.utils.registry import DATASET_REGISTRY
from pydantic import Field, model_validator
from torch import Tensor
from torch.utils.data import Dataset

from metaf2n_arch.data import patches
from metaf2n_arch.data.data_set_options import DegradedOptions, require_storage
from metaf2n_arch.data.sources import ImageSource, first_few
from metaf2n_arch.data.visits import Visits
from metaf2n_arch.images.arrays import to_tensor
from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.utils.options import parse_block
from metaf2n_arch.utils.registries import register


class MetaF2NDatasetOptions(DegradedOptions):
    """Options of `MetaF2NDataset`; the defaults are those of the authors' program."""

    dataroot_face: str
    """Folder of aligned square faces, or an LMDB (a folder ending in .lmdb)."""
    dataroot_gt: str
    """Folder of natural images, or an LMDB (a folder ending in .lmdb)."""
    meta_info_face: str | None = None
    """Text file that lists the faces to use; null uses all."""
    meta_info_gt: str | None = None
    """Text file that lists the natural images to use; null uses all."""
    num_faces: int = Field(default=4, ge=1)
    """Number of faces in a task (support)."""
    num_naturals: int = Field(default=4, ge=1)
    """Number of natural images in a task (query)."""
    face_size: int = Field(default=256, ge=1)
    """Side in pixels to which larger faces are downscaled; smaller faces are an error."""
    support_size: int = Field(default=128, ge=2)
    """Side of the patch of a face, in pixels of the clean image."""
    query_size: int = Field(default=256, ge=1)
    """Side of the patch of a natural image, in pixels of the clean image."""
    min_gradient_energy: float | None = -6.0
    """Smallest log mean squared gradient of a support patch; a flatter patch is drawn again, up to five times. null
    accepts all.
    """
    use_hflip: bool = True
    """Whether half of the faces and natural images, chosen at random, are flipped left to right."""
    use_rot: bool = False
    """Whether natural images are rotated by a random multiple of 90 degrees."""
    tasks_per_epoch: int | None = Field(default=None, ge=1)
    """Number of tasks in an epoch; null: as many as there are natural images."""

    @model_validator(mode='after')
    def _sizes_fit(self) -> MetaF2NDatasetOptions:
        for key in ('face_size', 'support_size', 'query_size'):
            if getattr(self, key) % self.scale:
                raise ValueError(f'{key} {getattr(self, key)} is not divisible by scale {self.scale}')
        if self.support_size > self.face_size:
            raise ValueError(f'support_size {self.support_size} is larger than face_size {self.face_size}')
        return self


@register(DATASET_REGISTRY)
class MetaF2NDataset(Dataset[dict[str, Any]]):
    """Tasks of MetaF2N (Yin et al., ICCV 2023): clean faces, clean natural images, and one drawn degradation for all.

    The model applies the degradation on its device. Faces are not cropped, because a face restorer needs whole faces;
    ``face_crop`` is the position of the support patch. The first natural image is the one with the item's number; the
    others and the faces are chosen at random. In training each visit makes a new draw, see `Visits`; outside training
    an item is always the same.

    Difference from the authors' program: query patches are cropped before they are degraded, not after.

    Items:
        ``face`` (N, 3, f, f), f the `face_size`; ``face_crop`` (N, 4) int64 as y, x, height, width, multiples of the
        scale; ``gt`` (M, 3, q, q), q the `query_size`; ``degradation``: tensors of `DegradationParams.to_tensors`. N is
        `num_faces`, M is `num_naturals`. Images RGB float32 in [0, 1].

    Raises:
        OptionError: a wrong option, see `MetaF2NDatasetOptions`.
        DataError: a folder has no images, a header shows an image that is damaged or too small, or a face is not
            square; checked when the data set is built.
    """

    options_schema = MetaF2NDatasetOptions

    def __init__(self, opt: Mapping[str, Any]) -> None:
        where = f'datasets.{opt.get("phase", "train")}'
        self.options = parse_block(MetaF2NDatasetOptions, opt, where)
        self.opt = opt
        o = self.options
        require_storage(o, {'dataroot_face': o.dataroot_face, 'dataroot_gt': o.dataroot_gt}, where)
        self.faces = ImageSource(o.dataroot_face, o.meta_info_face, f'{where}.dataroot_face', o.skips)
        self.naturals = ImageSource(o.dataroot_gt, o.meta_info_gt, f'{where}.dataroot_gt', o.skips)
        self.faces.require_at_least(o.face_size, o.face_size, 'the face_size')
        self.naturals.require_at_least(o.query_size, o.query_size, 'the query_size')
        self._refuse_oblong(self.faces.unfit(lambda h, w: h == w))
        self._visits = Visits(o.seed, o.phase == 'train')

    def __len__(self) -> int:
        return self.options.tasks_per_epoch or len(self.naturals)

    def __getitem__(self, index: int) -> dict[str, Any]:
        o = self.options
        rng = self._visits.generator(index)
        faces, boxes = zip(*(self._face(i, rng) for i in _choose(len(self.faces), o.num_faces, rng)))
        first = int(index) % len(self.naturals)
        others = _choose(len(self.naturals), o.num_naturals - 1, rng, without=first)
        return {
            'face': torch.stack(faces),
            'face_crop': torch.tensor(boxes),
            'gt': torch.stack([self._natural(i, rng) for i in [first, *others]]),
            'degradation': o.degradation.sample(rng).to_tensors(),
        }

    def _face(self, index: int, rng: np.random.Generator) -> tuple[Tensor, tuple[int, int, int, int]]:
        o = self.options
        image = self.faces.read(index)
        if image.shape[0] != image.shape[1]:
            self._refuse_oblong([f'{self.faces.path(index)} ({image.shape[0]}x{image.shape[1]})'])
        if image.shape[0] < o.face_size:
            raise DataError(f'{self.faces.path(index)} is {image.shape[0]} wide, expected face_size {o.face_size}.')
        image = patches.augment(patches.shrink_square(image, o.face_size), o.use_hflip, False, rng)
        return to_tensor(image), patches.draw_box(image, o.support_size, o.scale, o.min_gradient_energy, rng)

    def _natural(self, index: int, rng: np.random.Generator) -> Tensor:
        o = self.options
        image = self.naturals.read(index)
        if min(image.shape[:2]) < o.query_size:
            raise DataError(
                f'{self.naturals.path(index)} is {image.shape[0]}x{image.shape[1]}, smaller than query_size'
                f' {o.query_size}; remove it.'
            )
        return to_tensor(
            patches.augment(patches.random_patch(image, o.query_size, o.query_size, rng), o.use_hflip, o.use_rot, rng)
        )

    def _refuse_oblong(self, faces: list[str]) -> None:
        if faces:
            raise DataError(
                f'{self.faces.where}: {first_few(faces)} not square, expected aligned faces; align and crop them first,'
                ' see datasets/README.md.'
            )


def _choose(count: int, wanted: int, rng: np.random.Generator, without: int | None = None) -> list[int]:
    """Returns `wanted` random numbers below `count`, without `without`; they repeat only if there are too few."""
    pool = count if without is None else count - 1
    if pool == 0:
        return [0] * wanted
    drawn = rng.choice(pool, wanted, replace=pool < wanted)
    return [int(i) + (without is not None and i >= without) for i in drawn]
