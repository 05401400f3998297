"""Face preparation of test photos: finds the faces, restores them, and writes the layout of `FacePairDataset`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from metaf2n_arch.data.prepare.driver import Made, Summary, Track, Unfit, count, prepare, require_side
from metaf2n_arch.data.prepare.journal import Journal
from metaf2n_arch.faces.detector import Detector, DetectorOptions
from metaf2n_arch.faces.detectors import build_detector
from metaf2n_arch.faces.layout import FOLDERS, has_pairs, save_pairs
from metaf2n_arch.faces.pairs import face_pairs
from metaf2n_arch.faces.restorer import Restorer, RestorerOptions
from metaf2n_arch.faces.restorers import build_restorer
from metaf2n_arch.images.reading import read_image
from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.utils.files import write_whole

LISTING = 'faces.json'


@dataclass
class FacesSummary(Summary):
    """Result of a run, and the content of the data set after it.

    Attributes:
        images: number of images in the data set.
        faces: number of faces in these images.
        without: names of the images without a face.
    """

    images: int = 0
    faces: int = 0
    without: list[str] = field(default_factory=list)

    def describe(self, dry_run: bool = False) -> str:
        if dry_run:
            return super().describe(dry_run)
        parts = [count(self.images, 'image'), count(self.faces, 'face'), f'{len(self.without)} without a face']
        return ', '.join(parts + self._rest())

    @property
    def remarks(self) -> list[str]:
        return [f'without a face: {name}' for name in self.without]


@dataclass(frozen=True)
class Faces:
    """Writes ``Face_LQ/<name>_<i>.png`` and ``Face_HQ/<name>_<i>.png``, and copies the image to ``LQ/``.

    The detector and the restorer are built once, on one device, so use it in a single process.
    """

    source: Path
    out: Path
    detector: DetectorOptions
    restorer: RestorerOptions
    scale: int = 4
    device: Any = 'cpu'
    command: str = 'faces'

    def settings(self) -> dict[str, Any]:
        return {'scale': self.scale, 'detector': self.detector.model_dump(), 'restorer': self.restorer.model_dump()}

    def check(self, name: str) -> None:
        require_side(self.source / name, 1)

    @cached_property
    def networks(self) -> tuple[Detector, Restorer]:
        """Detector and restorer.

        Raises:
            DataError: weights are missing.
        """
        return build_detector(self.detector, self.device), build_restorer(self.restorer).to(self.device)

    def __call__(self, name: str) -> Made:
        detector, restorer = self.networks  # outside try: missing weights are not the fault of the image
        try:
            pairs = face_pairs(read_image(self.source / name), detector, restorer, self.scale)
        except DataError as error:
            raise Unfit(str(error)) from None
        faces = save_pairs(pairs, self.out, name)
        _copy(self.source / name, self.out / 'LQ' / name)
        return Made(_files(name, faces), faces)


def prepare_faces(
    lq: str | Path,
    out: str | Path,
    detector: DetectorOptions,
    restorer: RestorerOptions,
    scale: int = 4,
    device: Any = 'cpu',
    track: Track = lambda i, n: i,
    listing: Path | None = None,
    dry_run: bool = False,
) -> FacesSummary:
    """Writes ``LQ/``, ``Face_LQ/``, ``Face_HQ/`` and ``faces.json`` for the images of a folder, as `FacePairDataset`.

    An interrupted run is continued. An image that cannot be used is named in the summary; the others are processed.

    Args:
        lq: folder of low-quality images, searched with its subfolders.
        out: folder for the prepared data set.
        detector: options of the face detector.
        restorer: options of the face restorer.
        scale: upscaling factor of the generator that will be tested.
        device: device of detector and restorer.
        track: wraps an iterable of the given length, for a progress bar.
        listing: meta-info file of the images to use, relative to `lq`; None uses all.
        dry_run: only check the headers, and write nothing.

    Raises:
        DataError: there are no images, weights are missing, or `out` was filled with other settings.
    """
    work = Faces(Path(lq).expanduser(), Path(out).expanduser(), detector, restorer, scale, device)
    if dry_run:
        return FacesSummary(**vars(prepare(work, dry_run=True, listing=listing)))
    _take_over(work)
    try:
        summary = FacesSummary(**vars(prepare(work, 1, False, track, listing)))
    finally:
        images = _write_listing(work)
    summary.images, summary.faces = len(images), sum(map(len, images.values()))
    summary.without = [name for name, faces in images.items() if not faces]
    return summary


def _take_over(work: Faces) -> None:
    """Makes the journal of a data set of version 0.1.0, which wrote only the listing ``faces.json``."""
    journal = Journal(work.out, work.command, work.settings())
    path = work.out / LISTING
    if journal.entries or not path.is_file():
        return
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        settings, images = content['settings'], dict(content['images'])
    except (ValueError, KeyError, TypeError):
        raise DataError(f'{path} cannot be read; remove it to prepare the data set again.') from None
    if settings != journal.settings:
        raise DataError(f'{work.out} was filled with other settings; give another folder.')
    for name, faces in images.items():
        if (work.source / name).is_file() and has_pairs(work.out, faces):
            journal.add(name, work.source / name, _files(name, faces), faces)
    journal.close()


def _files(name: str, faces: list[dict[str, Any]]) -> list[str]:
    return [f'LQ/{name}', *(f'{folder}/{face["file"]}' for folder in FOLDERS for face in faces)]


def _write_listing(work: Faces) -> dict[str, list[dict[str, Any]]]:
    """Writes ``faces.json`` with the faces of all images in the data set, and returns them."""
    journal = Journal(work.out, work.command, work.settings())
    images = journal.facts()
    if journal.entries:
        write_whole(work.out / LISTING, json.dumps({'settings': journal.settings, 'images': images}, indent=1))
    return images


def _copy(source: Path, target: Path) -> None:
    if target.exists() and source.samefile(target):
        return
    try:
        content = source.read_bytes()
    except OSError as error:
        raise DataError(f'{source} cannot be read: {error.strerror or error}.') from None
    write_whole(target, content)
