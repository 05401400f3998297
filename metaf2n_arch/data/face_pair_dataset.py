"""Test sets with prepared faces: low-quality images, the faces in them, and the restored faces."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from basicsr.utils.registry import DATASET_REGISTRY
from torch.utils.data import Dataset

from metaf2n_arch.data.data_set_options import DatasetOptions
from metaf2n_arch.data.sources import first_few, logger, report_ignored
from metaf2n_arch.images.arrays import to_tensor
from metaf2n_arch.images.listing import scan_images
from metaf2n_arch.images.reading import image_size, read_image
from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.utils.options import parse_block
from metaf2n_arch.utils.registries import register

_FACE_NAME = re.compile(r'^(?P<image>.+)_(?P<number>\d+)$')


class FacePairDatasetOptions(DatasetOptions):
    """Options of `FacePairDataset`."""

    dataroot: str
    """Folder with the subfolder LQ/ and, if available, GT/, Face_LQ/ and Face_HQ/."""


@dataclass(frozen=True)
class Entry:
    """The files of one image.

    Attributes:
        lq: the low-quality image.
        gt: the ground truth, if there is one.
        faces: for each face the low-quality one and the restored one.
    """

    lq: Path
    gt: Path | None
    faces: tuple[tuple[Path, Path], ...]


@register(DATASET_REGISTRY)
class FacePairDataset(Dataset[dict[str, Any]]):
    """Test sets in the layout of the authors: ``GT/ LQ/ Face_LQ/ Face_HQ/``, with faces named ``<image>_<i>.png``.

    The folder GT may be missing; with it every image needs a GT. An image may have no faces. Use batch size 1, as
    BasicSR does outside training.

    Items:
        ``lq`` (3, h, w); ``gt`` (3, s·h, s·w) if there is one; ``face_lq`` and ``face_hq``: lists of (3, h_i, w_i) and
        (3, s·h_i, s·w_i), ordered by i; ``lq_path``, and ``gt_path`` with a GT. Images RGB float32 in [0, 1]; s is the
        scale.

    Raises:
        OptionError: a wrong option, see `FacePairDatasetOptions`.
        DataError: a folder is missing or empty, a face belongs to no image or has no partner, a GT is missing, or a
            size is not exactly `scale` times the other. It is one line with the first few files, and is raised when the
            data set is built.
    """

    options_schema = FacePairDatasetOptions

    def __init__(self, opt: Mapping[str, Any]) -> None:
        where = f'datasets.{opt.get("phase", "test")}'
        self.options = parse_block(FacePairDatasetOptions, {'phase': 'test', **opt}, where)
        self.opt = opt
        self.where = f'{where}.dataroot'
        self.entries = self._collect(Path(self.options.dataroot).expanduser())
        self._require_sizes()
        without = sum(not entry.faces for entry in self.entries)
        if without:
            logger.warning('%s: %d of %d images come without faces.', self.where, without, len(self.entries))

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> dict[str, Any]:
        entry = self.entries[int(index)]
        item: dict[str, Any] = {
            'lq': to_tensor(read_image(entry.lq)),
            'face_lq': [to_tensor(read_image(lq)) for lq, _ in entry.faces],
            'face_hq': [to_tensor(read_image(hq)) for _, hq in entry.faces],
            'lq_path': str(entry.lq),
        }
        if entry.gt is not None:
            item['gt'] = to_tensor(read_image(entry.gt))
            item['gt_path'] = str(entry.gt)
        return item

    def _collect(self, root: Path) -> list[Entry]:
        """Matches the files of the four folders by name without suffix."""
        if not root.is_dir():
            raise DataError(f'{self.where}: there is no folder {root}; expected a folder with the subfolder LQ/.')
        lq = self._stems(root, 'LQ')
        if not lq:
            raise DataError(f'{self.where}: there is no image in {root / "LQ"}.')
        gt, face_lq, face_hq = (self._stems(root, name) for name in ('GT', 'Face_LQ', 'Face_HQ'))
        if gt:
            self._refuse(sorted(lq.keys() - gt.keys()), f'in LQ/ but not in GT/ of {root}', 'add or remove')
        one_sided = sorted(face_lq.keys() ^ face_hq.keys())
        self._refuse(one_sided, f'in only one of Face_LQ/ and Face_HQ/ of {root}', 'add the partner or remove')
        owners = {name: _owner(name) for name in face_lq}
        strays = sorted(name for name, (image, _) in owners.items() if image not in lq)
        self._refuse(strays, f'a face of no image in LQ/ of {root}, expected <image>_<i>', 'rename or remove')
        faces: dict[str, list[str]] = {}
        for name in sorted(owners, key=lambda name: (owners[name][1], name)):
            faces.setdefault(owners[name][0], []).append(name)
        return [
            Entry(lq[name], gt.get(name), tuple((face_lq[f], face_hq[f]) for f in faces.get(name, []))) for name in lq
        ]

    def _stems(self, root: Path, name: str) -> dict[str, Path]:
        """Returns the image files of a folder, which may be missing, by name without suffix."""
        folder = root / name
        images, others = scan_images(folder)
        report_ignored(others, f'{self.where}: {folder}')
        stems: dict[str, Path] = {}
        for image in images:
            stem = os.path.splitext(image)[0]
            if stem in stems:
                raise DataError(f'{self.where}: {stems[stem]} and {folder / image} are the same image; remove one.')
            stems[stem] = folder / image
        return stems

    def _require_sizes(self) -> None:
        wrong: list[str] = []
        scale = self.options.scale
        for entry in self.entries:
            for small, large in [*([(entry.lq, entry.gt)] if entry.gt else []), *entry.faces]:
                (h, w), (big_h, big_w) = image_size(small), image_size(large)
                if (big_h, big_w) != (scale * h, scale * w):
                    wrong.append(f'{large} ({big_h}x{big_w}, its low-quality side {h}x{w})')
        self._refuse(wrong, f'not exactly {scale} times as large as the low-quality side', 'prepare again or remove')

    def _refuse(self, offenders: list[str], what: str, remedy: str) -> None:
        if offenders:
            raise DataError(f'{self.where}: {first_few(offenders)} {what}; {remedy} these files.')


def _owner(face: str) -> tuple[str, int]:
    """Returns the image's name and the face's number from the name of a face; an empty name if it has another form."""
    match = _FACE_NAME.match(face)
    return (match['image'], int(match['number'])) if match else ('', 0)
