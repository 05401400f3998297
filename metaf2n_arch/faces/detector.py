"""Face detectors behind one small interface: an image in, boxes and five landmarks out, from left to right."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from pydantic import Field, model_validator

from metaf2n_arch.utils.options import Strict

DetectorName = Literal['retinaface_resnet50', 'retinaface_mobile0.25', 'yunet', 'cascade']
DETECTORS: tuple[str, ...] = get_args(DetectorName)
# What each detector's score must reach unless said otherwise: the paper's 0.9 for RetinaFace, on whose scale it is.
CONFIDENCE = {'retinaface_resnet50': 0.9, 'retinaface_mobile0.25': 0.9, 'yunet': 0.7, 'cascade': 0.0}


class DetectorOptions(Strict):
    """The option block ``detector``."""

    type: DetectorName = 'retinaface_resnet50'
    """Which detector; ``cascade`` needs no weights file, and knows no landmarks."""
    weights: str | None = None
    """A file, or a name of ``metaf2n weights list``; by default the published weights of `type`."""
    confidence: float | None = Field(None, ge=0, le=1)
    """Least score of a face; by default 0.9 (RetinaFace) or 0.7 (YuNet)."""
    min_size: float = Field(16, ge=1)
    """Least length in pixels of the shorter side of a box."""
    max_faces: int | None = Field(None, ge=1)
    """Most faces in an image, the largest ones; None means all."""
    search_size: int = Field(1280, ge=64)
    """Longer side, in pixels, at which larger photos are searched."""

    @model_validator(mode='after')
    def _only_keys_that_act(self) -> DetectorOptions:
        if self.type == 'cascade' and (self.weights is not None or self.confidence is not None):
            raise ValueError('weights and confidence have no effect on the detector cascade; remove them')
        return self


@dataclass(frozen=True, eq=False)
class Face:
    """A face in an image.

    Attributes:
        box: x0, y0, x1, y1 in pixels from the image's upper left corner; may reach over the border.
        landmarks: (5, 2) x and y of eyes, nose tip and mouth corners, the ones on the image's left first; integers are
            pixel centres. None if the detector knows no landmarks.
        score: the detector's confidence in [0, 1].
    """

    box: tuple[float, float, float, float]
    landmarks: np.ndarray | None
    score: float

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the box."""
        return self.box[2] - self.box[0], self.box[3] - self.box[1]

    def scaled(self, x: float, y: float) -> Face:
        """The same face in an image resized by the factors `x` and `y`."""
        box = (self.box[0] * x, self.box[1] * y, self.box[2] * x, self.box[3] * y)
        points = None if self.landmarks is None else (self.landmarks + 0.5) * [x, y] - 0.5
        return replace(self, box=box, landmarks=points)


class Detector:
    """Searches an image at several sizes and keeps one face for each that is there.

    Detectors are trained on faces of limited size: a face that fills a large photo is missed, found twice or with a
    wrong box. The photo is therefore searched at `search_size`, half of it, and so on; a face is taken from the size at
    which its longer side is at most `largest` pixels. Subclasses implement `_search`; they keep no state between calls.

    Args:
        options: of `DetectorOptions`.
    """

    largest = 240
    smallest_search = 320

    def __init__(self, options: DetectorOptions) -> None:
        self.options = options

    def detect(self, image: np.ndarray) -> list[Face]:
        """Finds the faces.

        Args:
            image: (H, W, 3) uint8, RGB.

        Returns:
            The faces from left to right, without doubles, in pixels of `image`.

        Raises:
            ValueError: another shape or dtype.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f'image is {image.dtype} {image.shape}, expected uint8 of shape (H, W, 3), RGB.')
        found: list[Face] = []
        sides = _search_sides(max(image.shape[:2]), self.options.search_size, self.smallest_search)
        for level, side in enumerate(sides):
            small = _shrink(image, side)
            least = 0.0 if level == 0 else self.largest / 3
            most = float('inf') if level == len(sides) - 1 else self.largest
            back = image.shape[1] / small.shape[1], image.shape[0] / small.shape[0]
            found += [face.scaled(*back) for face in self._search(small) if least <= max(face.size) <= most]
        return select_faces(found, self.confidence, self.options.min_size, self.options.max_faces)

    def to(self, device: Any) -> Detector:
        """Moves the network, where there is one that can move; returns the detector itself."""
        return self

    @property
    def confidence(self) -> float:
        """Least score of a face."""
        default = CONFIDENCE[self.options.type]
        return default if self.options.confidence is None else self.options.confidence

    def _search(self, image: np.ndarray) -> list[Face]:
        raise NotImplementedError


def select_faces(faces: list[Face], confidence: float, min_size: float, max_faces: int | None) -> list[Face]:
    """Drops unsure and small faces, merges doubles (the surest stays), keeps the largest, orders from left to right."""
    sure = [face for face in faces if face.score >= confidence and min(face.size) >= min_size]
    kept: list[Face] = []
    for face in sorted(sure, key=lambda face: -face.score):
        if not any(is_double(face, other) for other in kept):
            kept.append(face)
    kept.sort(key=lambda face: -face.size[0] * face.size[1])
    return sorted(kept[:max_faces], key=lambda face: (face.box[0] + face.box[2], face.box[1] + face.box[3]))


def is_double(face: Face, other: Face) -> bool:
    """Whether two boxes show one face: they share 0.3 of their union, or 0.6 of the smaller one.

    >>> is_double(Face((0, 0, 10, 10), None, 1.0), Face((2, 2, 8, 8), None, 1.0))
    True
    """
    width = min(face.box[2], other.box[2]) - max(face.box[0], other.box[0])
    height = min(face.box[3], other.box[3]) - max(face.box[1], other.box[1])
    if width <= 0 or height <= 0:
        return False
    areas = [face.size[0] * face.size[1], other.size[0] * other.size[1]]
    shared = width * height
    return shared > 0.3 * (sum(areas) - shared) or shared > 0.6 * min(areas)


def _search_sides(longest: int, search_size: int, smallest: int) -> list[int]:
    """Longer sides to search at: the bounded size, then halves as long as they exceed `smallest`, then one below."""
    sides = [min(longest, search_size)]
    while sides[-1] > smallest:
        sides.append(sides[-1] // 2)
    return sides


def _shrink(image: np.ndarray, side: int) -> np.ndarray:
    import cv2

    height, width = image.shape[:2]
    if max(height, width) <= side:
        return np.ascontiguousarray(image)
    factor = side / max(height, width)
    shape = max(1, round(width * factor)), max(1, round(height * factor))
    return cv2.resize(image, shape, interpolation=cv2.INTER_AREA)
