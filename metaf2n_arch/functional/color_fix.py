"""Colour fix: a restoration with the tones of its photo, by one of two methods, whole or strip by strip."""

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
"""Rows of the photo, beyond those wanted, that enlarging looks at."""
ROWS = 64
"""Rows of a photo whose restoration is fixed at once where it comes in strips, beside those that they depend on."""


@dataclass(frozen=True)
class ColorFix:
    """A method and its settings; called on a restoration and its photo it returns the restoration with their tones.

    Attributes:
        kind: ``lowfreq`` (`low_frequency_fix`), ``wavelet`` (`wavelet_fix`), or ``none``, which changes nothing.
        sigma: of ``lowfreq``, in pixels of the photo; None mixes bands.
        traits: of the photo, where they are known, see `pooled_traits`; only ``lowfreq`` asks for them. Strips
            fit together only with them.

    >>> x, y = torch.full((1, 3, 4, 4), 0.5), torch.full((1, 3, 8, 8), 0.4)
    >>> round(ColorFix('lowfreq')(y, x).mean().item(), 4), ColorFix('none')(y, x) is y
    (0.5, True)
    """

    kind: ColorFixName = 'lowfreq'
    sigma: float | None = None
    traits: Traits | None = None

    def __call__(self, y: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """(B, 3, s·H, s·W) `y` with the tones of (B, 3, H, W) `x`; `weight` (B, 1, H, W) says which pixels count."""
        if self.kind == 'lowfreq':
            return low_frequency_fix(y, x, self.sigma, weight=weight, traits=self.traits)
        return wavelet_fix(y, x) if self.kind == 'wavelet' else y

    @property
    def reach(self) -> int:
        """Rows of the photo that a row of the result depends on, to each side, where the scale is 2 or more."""
        if self.kind == 'none':
            return 0
        # Enlarging looks two rows further; five dilated blurs reach 31 rows of the result.
        return math.ceil(4 * max(self.sigma or EDGES[-1], SMOOTHEST)) + 3 if self.kind == 'lowfreq' else 34

    def in_strips(self, strips: Iterable[Tensor], x: Tensor, weight: Tensor | None = None) -> Iterator[Tensor]:
        """The same strip by strip, for photos whose result does not fit into memory; equal to the whole at once.

        A strip is held back until the rows below it that its filters reach are there.

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
        """`low_frequency_fix`: what it adds is found at the size of the photo, so that few rows of the result wait."""
        small, kept = x[..., :0, :], None
        start = done = 0  # first row of `small`, and of `kept`, in rows of the photo
        for strip in strips:
            scale = strip.shape[-1] // x.shape[-1]
            small = torch.cat([small, shrunk(strip, scale)], -2)
            kept = strip.clone() if kept is None else torch.cat([kept, strip], -2)
            del strip  # a view of many more rows
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
        """Any fix: the rows that a strip depends on are fixed with it, and thrown away."""
        kept, start, done = None, 0, 0
        for strip in strips:
            kept = strip.clone() if kept is None else torch.cat([kept, strip], -2)
            del strip  # a view of many more rows
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
    """The same in strips of at most `ROWS` rows of a photo that is `width` wide: a fix needs several of such a size."""
    for strip in strips:
        yield from strip.split(ROWS * (strip.shape[-1] // width), -2)
        del strip  # before the next one is computed: half a gigabyte, of a large photo
