"""Tasks for meta-training: faces and natural images of one degradation."""

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
    """Options of `MetaF2NDataset`; the defaults are the authors' numbers."""

    dataroot_face: str
    """Aligned square faces: a folder or a .lmdb folder."""
    dataroot_gt: str
    """Natural images: a folder or a .lmdb folder."""
    meta_info_face: str | None = None
    """Text file that lists the faces to use."""
    meta_info_gt: str | None = None
    """Text file that lists the natural images to use."""
    num_faces: int = Field(default=4, ge=1)
    """Faces of a task (support)."""
    num_naturals: int = Field(default=4, ge=1)
    """Natural images of a task (query)."""
    face_size: int = Field(default=256, ge=1)
    """Side that larger faces are shrunk to."""
    support_size: int = Field(default=128, ge=2)
    """Side of the patch of a face, clean pixels."""
    query_size: int = Field(default=256, ge=1)
    """Side of the patch of a natural image, clean pixels."""
    min_gradient_energy: float | None = -6.0
    """Support patches with less log mean squared gradient are drawn again."""
    use_hflip: bool = True
    """Random horizontal flips."""
    use_rot: bool = False
    """Random quarter turns of the natural images."""
    tasks_per_epoch: int | None = Field(default=None, ge=1)
    """Tasks in an epoch; by default as many as there are natural images."""

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
    """One item is one task of MetaF2N (Yin et al. 2023): N faces, N natural images and the one draw that degrades them.

    The model degrades: item and draw go to the device as they are. Faces are whole, because a face restorer needs whole
    faces; the support patch is a position in them. The natural image of the item's own number comes first, the others
    and the faces are random. Each visit draws anew, see `Visits`; outside training an item is always the same.

    Differences from the authors' program: query patches are cut before they are degraded, not after.

    Items:
        ``face`` (N, 3, f, f), ``face_crop`` (N, 4) int64 as y, x, height, width, multiples of the scale; ``gt``
        (N, 3, q, q); ``degradation``: tensors of `DegradationParams.to_tensors`. Images RGB float32 in [0, 1].

    Raises:
        OptionError, DataError: see `MetaF2NDatasetOptions`; folders, sizes and headers are looked at on construction.
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
    """Returns `wanted` numbers below `count`, all different and none equal to `without` as far as there are enough."""
    pool = count if without is None else count - 1
    if pool == 0:
        return [0] * wanted
    drawn = rng.choice(pool, wanted, replace=pool < wanted)
    return [int(i) + (without is not None and i >= without) for i in drawn]
