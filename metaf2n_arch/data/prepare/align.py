"""Face alignment of photos: crops each face as in FFHQ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from metaf2n_arch.data.prepare.driver import Unfit, read_or_unfit, require_side, save, stem
from metaf2n_arch.faces.alignment import ffhq_crop, ffhq_square
from metaf2n_arch.faces.detector import Detector, DetectorOptions
from metaf2n_arch.faces.detectors import build_detector
from metaf2n_arch.utils.checks import DataError

Landmarks = list[list[float]]


@lru_cache(maxsize=1)
def _detector(options: str) -> Detector:
    """One detector per process, built when the first image needs it."""
    return build_detector(DetectorOptions.model_validate_json(options))


def read_landmarks(path: Path) -> dict[str, list[Landmarks]]:
    """Returns image -> five landmarks of each face, from ``faces.json`` of `prepare_faces` or a plain mapping.

    The plain mapping is ``{image: [[x, y], ... five]}`` or ``{image: [face, face, ...]}``. Images may be given with or
    without suffix. The points are in pixels, in the order of `Face.landmarks`.

    Raises:
        DataError: the file cannot be read, or has another content.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise DataError(f'{path} cannot be read as JSON: {error}.') from None
    images = content.get('images', content) if isinstance(content, Mapping) else None
    if not isinstance(images, Mapping):
        raise DataError(f'{path} does not hold a mapping from images to landmarks.')
    found: dict[str, list[Landmarks]] = {}
    for name, faces in images.items():
        try:
            plain = [face['landmarks'] if isinstance(face, Mapping) else face for face in faces]
            points = np.array([face for face in plain if face is not None], dtype=np.float64)
            found[stem(name)] = points.reshape(-1, 5, 2).tolist()
        except (KeyError, TypeError, ValueError):
            raise DataError(f'{path}: {name} has no list of five points (x, y) per face.') from None
    return found


@dataclass(frozen=True)
class Align:
    """Writes each face of a photo, aligned by `ffhq_crop`, as ``<name>_<i>.png``; the largest as ``<name>.png``.

    Attributes:
        source: folder of photos.
        out: folder for the faces.
        sizes: sides of the aligned faces in pixels; several sizes get a subfolder each.
        largest: whether only the largest face of a photo is written.
        min_ratio: faces are left out whose square in the photo is smaller than `min_ratio` times the smallest size,
            because upscaling would have to invent most of it.
        detector: finds the faces, if there are no `landmarks`.
        landmarks: image without suffix -> landmarks, see `read_landmarks`.
        command: name of the preparation.
    """

    source: Path
    out: Path
    sizes: tuple[int, ...] = (512,)
    largest: bool = False
    min_ratio: float = 0.5
    detector: DetectorOptions = field(default_factory=DetectorOptions)
    landmarks: dict[str, list[Landmarks]] | None = None
    command: str = 'align'

    def settings(self) -> dict[str, Any]:
        own = {'sizes': self.sizes, 'largest': self.largest, 'min_ratio': self.min_ratio}
        return {**own, 'detector': None if self.landmarks is not None else self.detector.model_dump()}

    def check(self, name: str) -> None:
        require_side(self.source / name, 16)

    def __call__(self, name: str) -> list[str]:
        self.check(name)
        image = read_or_unfit(self.source / name)
        faces = self._large_enough(self._find(name, image), name)
        floats = image.astype(np.float32) / 255
        files = []
        for size in self.sizes:
            folder = f'{size}/' if len(self.sizes) > 1 else ''
            for number, face in enumerate(faces):
                crop = (ffhq_crop(floats, face, size) * 255).round().astype(np.uint8)
                suffix = '' if self.largest else f'_{number}'
                files.append(save(self.out, f'{folder}{stem(name)}{suffix}.png', crop))
        return files

    def _find(self, name: str, image: np.ndarray) -> list[np.ndarray]:
        if self.landmarks is not None:
            faces = [np.array(face) for face in self.landmarks.get(stem(name), [])]
        else:
            found = _detector(self.detector.model_dump_json()).detect(image)
            faces = [face.landmarks for face in found if face.landmarks is not None]
        if not faces:
            raise Unfit(f'{self.source / name} shows no face.')
        return faces

    def _large_enough(self, faces: list[np.ndarray], name: str) -> list[np.ndarray]:
        sides = [2 * float(np.hypot(*ffhq_square(face)[1])) for face in faces]
        least = self.min_ratio * min(self.sizes)
        kept = [face for face, side in zip(faces, sides) if side >= least]
        if not kept:
            raise Unfit(
                f'{self.source / name} shows no face of {least:.0f} pixels or more: the largest has {max(sides):.0f}.'
            )
        return [faces[int(np.argmax(sides))]] if self.largest else kept
