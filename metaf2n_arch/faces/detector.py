"""Face detectors: the interface that they share. It takes an image and returns boxes and five landmarks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from pydantic import Field, model_validator

from metaf2n_arch.utils.checks import require_choice
from metaf2n_arch.utils.options import Strict, parse_block

DetectorName = Literal['retinaface_resnet50', 'retinaface_mobile0.25', 'yunet', 'cascade']
DETECTORS: tuple[str, ...] = get_args(DetectorName)
# Default minimum of each detector's score. The paper uses 0.9 with RetinaFace; other detectors have other scales.
CONFIDENCE = {'retinaface_resnet50': 0.9, 'retinaface_mobile0.25': 0.9, 'yunet': 0.7, 'cascade': 0.0}


class DetectorOptions(Strict):
    """The option block ``detector``."""

    type: DetectorName = 'retinaface_resnet50'
    """The detector; ``cascade`` needs no weights file, but finds no landmarks."""
    weights: str | None = None
    """A file, or a name of ``metaf2n weights list``; by default the published weights of `type`."""
    confidence: float | None = Field(None, ge=0, le=1)
    """Minimum score of a face; by default 0.9 (RetinaFace) or 0.7 (YuNet)."""
    min_size: float = Field(16, ge=1)
    """Minimum of the shorter side of a box, in pixels of the photo."""
    max_faces: int | None = Field(None, ge=1)
    """Maximum number of faces of an image, the largest ones; None means all."""
    search_size: int = Field(1280, ge=64)
    """Longer side, in pixels, to which larger photos are downscaled for the search."""

    @model_validator(mode='after')
    def _only_keys_that_act(self) -> DetectorOptions:
        if self.type == 'cascade' and (self.weights is not None or self.confidence is not None):
            raise ValueError('weights and confidence have no effect on the detector cascade; remove them')
        return self


def detector_options(opt: Mapping[str, Any] | DetectorOptions | str | None, where: str) -> DetectorOptions:
    """Checks an option block, or only its `type`; None means all defaults. `where` is its key path, for messages.

    Raises:
        OptionError: the block has an unknown key or a value that is not allowed.
    """
    if isinstance(opt, str):
        require_choice(where, opt, DETECTORS)
        opt = {'type': opt}
    return opt if isinstance(opt, DetectorOptions) else parse_block(DetectorOptions, opt, where)


@dataclass(frozen=True, eq=False)
class Face:
    """A face in an image.

    Attributes:
        box: x0, y0, x1, y1 in pixels from the image's upper left corner; may reach over the border.
        landmarks: (5, 2) x and y of eyes, nose tip and mouth corners; of each pair, the one on the image's left first.
            Integers are pixel centres. None if the detector finds no landmarks.
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

    def moved(self, x: float, y: float) -> Face:
        """The same face, `x` pixels to the right and `y` pixels down."""
        box = (self.box[0] + x, self.box[1] + y, self.box[2] + x, self.box[3] + y)
        return replace(self, box=box, landmarks=None if self.landmarks is None else self.landmarks + np.array([x, y]))


class Detector:
    """Searches an image at several sizes, and returns each face once.

    Detectors are trained on faces of limited size. A face that fills a large photo is missed, found twice or with a
    wrong box; a face of 20 pixels is missed in a downscaled photo. Therefore the photo is searched at `search_size`,
    half of it, and so on. For small faces it is also searched at twice `search_size`, and so on up to its own size, in
    tiles of `search_size`. At each size only faces of suitable size are accepted. Subclasses implement `_search`; they
    keep no state between calls.

    Args:
        options: the option block ``detector``.
    """

    finds_small = False
    """Whether the detector recognises faces of few pixels, so that a search at larger sizes is useful."""
    largest = 240
    """Longest side of a face, in pixels of the searched size, that is accepted if smaller sizes are searched, too."""
    smallest_search = 320
    """Longer side, in pixels, at and below which the photo is not halved again."""
    tile_overlap = 160
    """Pixels that neighbouring tiles share; also the longest side of a face that is accepted from a tile."""
    enlarged_below = 48
    """Longest side of a face, in pixels of the photo, that is accepted from the photo at twice its size."""

    def __init__(self, options: DetectorOptions) -> None:
        self.options = options

    def detect(self, image: np.ndarray) -> list[Face]:
        """Finds the faces.

        Args:
            image: (H, W, 3) uint8, RGB.

        Returns:
            The faces from left to right, each once, in pixels of `image`.

        Raises:
            ValueError: `image` has another shape or dtype.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f'image is {image.dtype} {image.shape}, expected uint8 of shape (H, W, 3), RGB.')
        found: list[Face] = []
        longest = max(image.shape[:2])
        sides = _search_sides(longest, self.options.search_size, self.smallest_search)
        for level, side in enumerate(sides):
            least = 0.0 if level == 0 else self.largest / 3
            most = float('inf') if level == len(sides) - 1 else self.largest
            found += self._search_at(image, side, least, most)
        for side in _finer_sides(longest, self.options.search_size) if self.finds_small else ():
            most = self.tile_overlap if side <= longest else self.enlarged_below * side / longest
            finer = self._search_at(image, side, 0.0, most)
            if side > longest:  # faces that were found at the photo's own size are not replaced
                sure = [face for face in found if face.score >= self.confidence]
                finer = [face for face in finer if not any(is_double(face, other) for other in sure)]
            found += finer
        return select_faces(found, self.confidence, self.options.min_size, self.options.max_faces)

    def _search_at(self, image: np.ndarray, side: int, least: float, most: float) -> list[Face]:
        """Faces whose longer side is `least` to `most` pixels in the image resized to a longer side of `side`."""
        resized = _resized(image, side)
        x, y = image.shape[1] / resized.shape[1], image.shape[0] / resized.shape[0]
        faces = []
        for top, left, part in _tiles(resized, self.options.search_size, self.tile_overlap):
            inner = [face for face in self._search(part) if least <= max(face.size) <= most]
            if part.shape != resized.shape:
                inner = [face.moved(left, top) for face in inner if not _is_cut(face, part, (top, left), resized)]
            faces += [face.scaled(x, y) for face in inner]
        return faces

    def with_options(self, **options: Any) -> Detector:
        """Returns a copy of the detector with other options, for example `max_faces`; both share the network."""
        other = copy(self)
        other.options = self.options.model_copy(update=options)
        return other

    def to(self, device: Any) -> Detector:
        """Moves the network to a device, if the detector has a torch network; returns the detector itself."""
        return self

    @property
    def confidence(self) -> float:
        """Minimum score of a face."""
        default = CONFIDENCE[self.options.type]
        return default if self.options.confidence is None else self.options.confidence

    def _search(self, image: np.ndarray) -> list[Face]:
        raise NotImplementedError


def select_faces(faces: list[Face], confidence: float, min_size: float, max_faces: int | None) -> list[Face]:
    """Removes faces with a low score, small faces and doubles, keeps the largest ones, sorts from left to right.

    Of doubles the face with the highest score is kept.
    """
    sure = [face for face in faces if face.score >= confidence and min(face.size) >= min_size]
    kept: list[Face] = []
    for face in sorted(sure, key=lambda face: -face.score):
        if not any(is_double(face, other) for other in kept):
            kept.append(face)
    kept.sort(key=lambda face: -face.size[0] * face.size[1])
    return sorted(kept[:max_faces], key=lambda face: (face.box[0] + face.box[2], face.box[1] + face.box[3]))


def is_double(face: Face, other: Face) -> bool:
    """Whether two boxes show the same face: they share more than 0.3 of their union, or 0.6 of the smaller box.

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
    """Longer sides to search at: at most `search_size`, then halves of it, until one is `smallest` or less."""
    sides = [min(longest, search_size)]
    while sides[-1] > smallest:
        sides.append(sides[-1] // 2)
    return sides


def _finer_sides(longest: int, search_size: int) -> list[int]:
    """Longer sides above `search_size`: doubles of it up to the photo's own, and twice the photo's own.

    The last one is left out for a photo of more than twice `search_size`.

    >>> _finer_sides(4000, 1280), _finer_sides(700, 1280)
    ([2560, 4000], [1400])
    """
    sides = []
    side = search_size
    while side < longest:
        side = min(2 * side, longest)
        sides.append(side)
    return [*sides, 2 * longest] if longest <= 2 * search_size else sides


def _tiles(image: np.ndarray, side: int, overlap: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """Top, left and pixels of tiles of at most `side` pixels, neighbours sharing at least `overlap`."""
    starts = []
    for length in image.shape[:2]:
        count = 1 if length <= side else -(-(length - overlap) // (side - overlap))
        starts.append([round(i * (length - side) / max(1, count - 1)) if count > 1 else 0 for i in range(count)])
    for top in starts[0]:
        for left in starts[1]:
            yield top, left, np.ascontiguousarray(image[top : top + side, left : left + side])


def _is_cut(face: Face, tile: np.ndarray, corner: tuple[int, int], image: np.ndarray) -> bool:
    """Whether a face touches a border of its tile that is no border of the image: a neighbour tile shows more of it."""
    (top, left), (height, width) = corner, tile.shape[:2]
    x0, y0, x1, y1 = face.box
    sideways = (left > 0 and x0 < 1) or (left + width < image.shape[1] and x1 > width - 1)
    return sideways or (top > 0 and y0 < 1) or (top + height < image.shape[0] and y1 > height - 1)


def _resized(image: np.ndarray, side: int) -> np.ndarray:
    import cv2

    height, width = image.shape[:2]
    if max(height, width) == side:
        return np.ascontiguousarray(image)
    factor = side / max(height, width)
    shape = max(1, round(width * factor)), max(1, round(height * factor))
    return cv2.resize(image, shape, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
