"""What came of a photo: whole, or to be had strip by strip."""

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
"""Rows of a result that are converted at once."""


@dataclass(eq=False)
class Restoration:
    """A restored photo.

    Attributes:
        image: the photo, s times as large, of the kind that was given.
        faces: its faces, from left to right: LQ and HQ crops (RGB in [0, 1]), boxes in the photo, landmarks, scores.
        gain: what adaptation gained, or would have, on patches of the faces that took no part in it; None where there
            was none to adapt to.
        adapted: whether `image` comes from adapted weights: there was a face, and a step from which it gained.
        inner_lr: the step size that was taken; None without adaptation, and with learned rates.
        reason: why the photo was restored unadapted although there was a face; None if it was not.
        unadapted: the photo restored with the weights as they are, if it was asked for.
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
        """How far each restored face is trusted, W per pixel, (s·h, s·w) float32; computed when first asked for."""
        return [self._confide(face) for face in self.faces]


@dataclass(eq=False)
class Opened:
    """A photo whose faces are found and adapted to, and which is restored strip by strip.

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
        """The result in strips from top to bottom, of the kind of the photo; memory for one row of tiles is needed.

        Args:
            adapted: with what the faces have taught, if there is anything; else with the weights as they are.
            tile: instead of that of the options; its surroundings are made to fit.

        Raises:
            DataError: the generator's values are not finite.
        """
        return self._strips(adapted, tile, self._progress)

    def pairs(self, tile: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Strips without and with adaptation, as `strips` gives them; one for both where nothing is adapted."""
        if not self.adapted:
            yield from ((strip, strip) for strip in self.strips(True, tile))
            return
        first, second = together(self._progress, 2)
        yield from zip(self._strips(False, tile, first), self._strips(True, tile, second))

    def image(self, adapted: bool = True) -> np.ndarray:
        """The whole result; see `strips`."""
        return np.concatenate(list(self.strips(adapted)))

    def images(self) -> tuple[np.ndarray, np.ndarray]:
        """The whole result without and with adaptation; the same array where nothing is adapted."""
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
