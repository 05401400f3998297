"""Demo data sets: they write their files from photographs of installed packages, and then work as the others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from basicsr.utils.registry import DATASET_REGISTRY
from pydantic import Field, model_validator

from metaf2n_arch.data.data_set_options import DegradedOptions
from metaf2n_arch.data.face_pair_dataset import FacePairDataset, FacePairDatasetOptions
from metaf2n_arch.data.metaf2n_dataset import MetaF2NDataset, MetaF2NDatasetOptions
from metaf2n_arch.data.prepare.demo import folder_of, prepare_training, prepare_validation, validation_settings
from metaf2n_arch.utils.options import parse_block
from metaf2n_arch.utils.registries import register


class DemoMetaF2NDatasetOptions(MetaF2NDatasetOptions):
    """Options of `DemoMetaF2NDataset`: those of `MetaF2NDataset`, with one folder instead of two."""

    dataroot: str = 'datasets/demo/train'
    """Folder for the files, which are made there; other settings get another subfolder."""
    dataroot_face: str = ''
    """Set by the data set to a subfolder of ``dataroot``; do not give it."""
    dataroot_gt: str = ''
    """Set by the data set to a subfolder of ``dataroot``; do not give it."""

    @model_validator(mode='before')
    @classmethod
    def _one_root(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        root = Path(str(values.get('dataroot', 'datasets/demo/train')))
        return {'dataroot_face': str(root / 'faces'), 'dataroot_gt': str(root / 'naturals'), **values}


@register(DATASET_REGISTRY)
class DemoMetaF2NDataset(MetaF2NDataset):
    """`MetaF2NDataset` of photographs of scikit-image and matplotlib, which it first writes into `dataroot`."""

    options_schema = DemoMetaF2NDatasetOptions
    makes_files = True

    def __init__(self, opt: Mapping[str, Any]) -> None:
        options = parse_block(DemoMetaF2NDatasetOptions, opt, f'datasets.{opt.get("phase", "train")}')
        folder = prepare_training(Path(options.dataroot), options.face_size)
        made = {'dataroot_face': str(folder / 'faces'), 'dataroot_gt': str(folder / 'naturals')}
        super().__init__({**{k: v for k, v in opt.items() if k != 'dataroot'}, **made})


class DemoFacePairDatasetOptions(DegradedOptions, FacePairDatasetOptions):
    """Options of `DemoFacePairDataset`: those of `FacePairDataset`, and the degradation of its images."""

    dataroot: str = 'datasets/demo/val'
    """Folder for the files, which are made there; other settings get another subfolder."""
    draws: int = Field(default=6, ge=1)
    """Number of images: the same photograph with as many different degradations."""

    @property
    def folder(self) -> Path:
        """Folder of the files of these settings; the data set makes it."""
        return folder_of(Path(self.dataroot), validation_settings(self.degradation, self.draws))


@register(DATASET_REGISTRY)
class DemoFacePairDataset(FacePairDataset):
    """`FacePairDataset` of scikit-image's astronaut, degraded several times, which it first writes to `dataroot`."""

    options_schema = DemoFacePairDatasetOptions
    makes_files = True

    def __init__(self, opt: Mapping[str, Any]) -> None:
        options = parse_block(DemoFacePairDatasetOptions, opt, f'datasets.{opt.get("phase", "val")}')
        folder = prepare_validation(Path(options.dataroot), options.degradation, options.draws)
        own = {k: v for k, v in opt.items() if k not in ('degradation', 'draws')}
        super().__init__({**own, 'dataroot': str(folder)})
