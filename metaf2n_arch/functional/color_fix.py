"""Colour fix: gives a restoration the tones of its photo, by one of two methods, at once or strip by strip."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from metaf2n_arch.functional.gaussians import enlarged, shrunk
from metaf2n_arch.functional.low_frequency import EDGES, SMOOTHEST, correction, low_frequency_fix, wavelet_fix
from metaf2n_arch.functional.methods import ColorFixName
from metaf2n_arch.functional.traits import Traits

MARGIN = 3
"""Rows of the photo, above and below the wanted ones, that bicubic enlarging reads."""
ROWS = 64
"""Largest height of a strip, in rows of the photo. The rows that the filters reach above and below come on top."""


@dataclass(frozen=True)
class ColorFix:
    """A method of colour fix and its settings, to be called on a restoration and its photo.

    Attributes:
        kind: ``lowfreq`` (`low_frequency_fix`), ``wavelet`` (`wavelet_fix`), or ``none``, which changes nothing.
        sigma: standard deviation of the low-pass of ``lowfreq``, in pixels of the photo; None mixes bands.
        traits: noise and sharpness of the photo (`pooled_traits`), read by ``lowfreq`` alone; None measures them. Give
            them for `in_strips`: else each strip measures its own, and seams show.

    >>> x, y = torch.full((1, 3, 4, 4), 0.5), torch.full((1, 3, 8, 8), 0.4)
    >>> round(ColorFix('lowfreq')(y, x).mean().item(), 4), ColorFix('none')(y, x) is y
    (0.5, True)
    """

    kind: ColorFixName = 'lowfreq'
    sigma: float | None = None
    traits: Traits | None = None

    def __call__(self, y: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """Returns `y` (B, 3, s·H, s·W) with the tones of `x` (B, 3, H, W).

        `weight` (B, 1, H, W) says how much each pixel of `x` counts; ``lowfreq`` alone reads it.
        """
        if self.kind == 'lowfreq':
            return low_frequency_fix(y, x, self.sigma, weight=weight, traits=self.traits)
        return wavelet_fix(y, x) if self.kind == 'wavelet' else y

    @property
    def reach(self) -> int:
        """Most rows of the photo above, and below, that a row of the result depends on."""
        if self.kind == 'none':
            return 0
        # The Gaussian reaches 4 σ, five dilated blurs 1 + 2 + 4 + 8 + 16 = 31 rows; bicubic enlarging 3 rows more.
        return math.ceil(4 * max(self.sigma or EDGES[-1], SMOOTHEST)) + 3 if self.kind == 'lowfreq' else 34

    def in_strips(self, strips: Iterable[Tensor], x: Tensor, weight: Tensor | None = None) -> Iterator[Tensor]:
        """Fixes a restoration strip by strip, for results that do not fit into memory; equal to fixing all at once.

        A strip is returned when the rows below it that the filters reach have arrived.

        Args:
            strips: the restoration (1, 3, h, s·W) from top to bottom, h a multiple of s.
            x: the whole photo, (1, 3, H, W).
            weight: see `low_frequency_fix`.
        """
        if self.kind == 'none':
            yield from _lower(strips, x.shape[-1])
        elif self.kind == 'lowfreq':
            yield from self._toned(_lower(strips, x.shape[-1]), x, weight)
        else:
            yield from self._fixed(_lower(strips, x.shape[-1]), x)

    def _toned(self, strips: Iterable[Tensor], x: Tensor, weight: Tensor | None) -> Iterator[Tensor]:
        """`low_frequency_fix` in strips. It corrects at the photo's size, so that few rows of the result are kept."""
        small, kept = x[..., :0, :], None
        start = done = 0  # first row of `small`, and of `kept`, in rows of the photo
        for strip in strips:
            scale = strip.shape[-1] // x.shape[-1]
            small = torch.cat([small, shrunk(strip, scale)], -2)
            kept = strip.clone() if kept is None else torch.cat([kept, strip], -2)
            del strip  # a view, which keeps many more rows in memory
            known = start + small.shape[-2]
            ready = known if known == x.shape[-2] else max(done, known - self.reach)
            if ready == done:
                continue
            part = None if weight is None else weight[..., start:known, :]
            change = correction(small, x[..., start:known, :], self.sigma, weight=part, traits=self.traits)
            first, last = max(start, done - MARGIN), min(known, ready + MARGIN)
            up = enlarged(change[..., first - start : last - start, :], scale)
            rows = (ready - done) * scale
            yield up[..., (done - first) * scale :, :][..., :rows, :].add_(kept[..., :rows, :])
            kept = kept[..., rows:, :].clone()  # else the rows that are done stay in memory
            done, keep = ready, max(0, ready - self.reach)
            small, start = small[..., keep - start :, :], keep

    def _fixed(self, strips: Iterable[Tensor], x: Tensor) -> Iterator[Tensor]:
        """Any fix in strips: the rows that a strip depends on are fixed with it, then dropped."""
        kept, start, done = None, 0, 0
        for strip in strips:
            kept = strip.clone() if kept is None else torch.cat([kept, strip], -2)
            del strip  # a view, which keeps many more rows in memory
            scale = kept.shape[-1] // x.shape[-1]
            known = start + kept.shape[-2] // scale
            ready = known if known == x.shape[-2] else max(done, known - self.reach)
            if ready == done:
                continue
            fixed = self(kept, x[..., start:known, :])
            yield fixed[..., (done - start) * scale : (ready - start) * scale, :]
            done, keep = ready, max(0, ready - self.reach)
            kept, start = kept[..., (keep - start) * scale :, :], keep


def _lower(strips: Iterable[Tensor], width: int) -> Iterator[Tensor]:
    """Splits strips to at most `ROWS` rows of the photo, `width` pixels wide: a fix keeps several in memory."""
    for strip in strips:
        yield from strip.split(ROWS * (strip.shape[-1] // width), -2)
        del strip  # freed before the next one is computed: half a gigabyte for a large photo
