"""Data sets of the demo: they make their files from photographs that are installed, then are the ordinary data sets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from basicsr.utils.registry import DATASET_REGISTRY
from pydantic import Field, model_validator

from metaf2n_arch.data.face_pair_dataset import FacePairDataset, FacePairDatasetOptions
from metaf2n_arch.data.metaf2n_dataset import MetaF2NDataset, MetaF2NDatasetOptions
from metaf2n_arch.data.options import DegradedOptions
from metaf2n_arch.data.prepare.demo import prepare_training, prepare_validation
from metaf2n_arch.utils.options import parse_block


class DemoMetaF2NDatasetOptions(MetaF2NDatasetOptions):
    """Options of `DemoMetaF2NDataset`: those of `MetaF2NDataset`, with one root in place of two."""

    dataroot: str = 'datasets/demo/train'
    """Folder to make and use."""
    dataroot_face: str = ''
    """Aligned square faces; by default ``faces`` in ``dataroot``."""
    dataroot_gt: str = ''
    """Natural images; by default ``naturals`` in ``dataroot``."""

    @model_validator(mode='before')
    @classmethod
    def _one_root(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        root = Path(str(values.get('dataroot', 'datasets/demo/train')))
        return {'dataroot_face': str(root / 'faces'), 'dataroot_gt': str(root / 'naturals'), **values}


@DATASET_REGISTRY.register()
class DemoMetaF2NDataset(MetaF2NDataset):
    """`MetaF2NDataset` on photographs of scikit-image and matplotlib, which it writes under `dataroot` first."""

    options_schema = DemoMetaF2NDatasetOptions

    def __init__(self, opt: Mapping[str, Any]) -> None:
        options = parse_block(DemoMetaF2NDatasetOptions, opt, f'datasets.{opt.get("phase", "train")}')
        prepare_training(Path(options.dataroot), options.face_size)
        roots = {'dataroot_face': options.dataroot_face, 'dataroot_gt': options.dataroot_gt}
        super().__init__({**{k: v for k, v in opt.items() if k != 'dataroot'}, **roots})


class DemoFacePairDatasetOptions(DegradedOptions, FacePairDatasetOptions):
    """Options of `DemoFacePairDataset`: those of `FacePairDataset`, and what its images are degraded with."""

    dataroot: str = 'datasets/demo/val'
    """Folder to make and use."""
    draws: int = Field(default=6, ge=1)
    """Number of images, each the same photograph degraded anew."""


@DATASET_REGISTRY.register()
class DemoFacePairDataset(FacePairDataset):
    """`FacePairDataset` on the astronaut of scikit-image, degraded by draws of its own, written under `dataroot`
    first."""

    options_schema = DemoFacePairDatasetOptions

    def __init__(self, opt: Mapping[str, Any]) -> None:
        options = parse_block(DemoFacePairDatasetOptions, opt, f'datasets.{opt.get("phase", "val")}')
        prepare_validation(Path(options.dataroot), options.degradation, options.draws)
        super().__init__({k: v for k, v in opt.items() if k not in ('degradation', 'draws')})
