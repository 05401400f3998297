"""Restoration of a photo: the result as a whole image, or strip by strip."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from torch import Tensor

from metaf2n_arch.faces.pairs import FacePair
from metaf2n_arch.images.kinds import like_input
from metaf2n_arch.meta.photo import Gain
from metaf2n_arch.utils.progress import Progress, silent, together

STRIP = 256
"""Rows of a result that are converted to an array at once."""


@dataclass(eq=False)
class Restoration:
    """A restored photo.

    Attributes:
        image: the restored photo, with the channels and dtype of the given photo.
        faces: its faces, from left to right: LQ and HQ crops (RGB in [0, 1]), boxes in the photo, landmarks, scores.
        gain: gain of adaptation on held-out patches of the faces, also if the photo was restored unadapted; None
            without faces or without adaptation.
        adapted: whether `image` was restored with adapted weights.
        inner_lr: the step size that was taken; None without adaptation, and with learned rates.
        reason: why the photo was restored unadapted although it has a face; otherwise None.
        unadapted: the photo restored without adaptation, if it was asked for.
    """

    image: np.ndarray
    faces: list[FacePair]
    gain: Gain | None
    adapted: bool
    inner_lr: float | None = None
    reason: str | None = None
    unadapted: np.ndarray | None = None
    _confide: Callable[[FacePair], np.ndarray] = field(repr=False, default=lambda face: np.ones(face.hq.shape[-2:]))

    @cached_property
    def confidence(self) -> list[np.ndarray]:
        """Confidence W in each pixel of each restored face, (s·h, s·w) float32; computed at the first access."""
        return [self._confide(face) for face in self.faces]


@dataclass(eq=False)
class Opened:
    """A photo after face detection and adaptation, ready to be restored strip by strip.

    Attributes:
        source: the photo, as it was given.
        size: height and width of the result.
        faces, gain, adapted, inner_lr, reason: see `Restoration`.
    """

    source: np.ndarray
    size: tuple[int, int]
    faces: list[FacePair]
    gain: Gain | None
    adapted: bool
    inner_lr: float | None
    reason: str | None
    _restore: Callable[[bool, int | None, Progress], Iterator[Tensor]] = field(repr=False)
    _progress: Progress = field(repr=False, default=silent)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result: (H, W) or (H, W, C)."""
        return (*self.size, *self.source.shape[2:])

    def strips(self, adapted: bool = True, tile: int | None = None) -> Iterator[np.ndarray]:
        """Yields the result in strips from top to bottom, with the channels and dtype of the photo.

        Needs memory for one row of tiles.

        Args:
            adapted: whether to use the adapted weights, if there are any; otherwise those of the file.
            tile: side of the tiles instead of that of the options; the overlap is reduced to fit.

        Raises:
            DataError: the output of the generator is not finite.
        """
        return self._strips(adapted, tile, self._progress)

    def pairs(self, tile: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields pairs of strips, without and with adaptation, see `strips`; the same strip twice if not adapted."""
        if not self.adapted:
            yield from ((strip, strip) for strip in self.strips(True, tile))
            return
        first, second = together(self._progress, 2)
        yield from zip(self._strips(False, tile, first), self._strips(True, tile, second))

    def image(self, adapted: bool = True) -> np.ndarray:
        """The whole result; see `strips`."""
        return np.concatenate(list(self.strips(adapted)))

    def images(self) -> tuple[np.ndarray, np.ndarray]:
        """The whole result without and with adaptation; the same array twice if not adapted."""
        if not self.adapted:
            whole = self.image()
            return whole, whole
        plain, adapted = zip(*self.pairs())
        return np.concatenate(plain), np.concatenate(adapted)

    def _strips(self, adapted: bool, tile: int | None, progress: Progress) -> Iterator[np.ndarray]:
        first = 0
        for strip in self._restore(adapted and self.adapted, tile, progress):
            for part in strip.split(STRIP, -2):
                yield like_input(part, self.source, first, self.size[0])
                first += part.shape[-2]
