"""Duration of a restoration on a CPU, estimated in advance from the time of one patch and the sizes of the photos."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from metaf2n_arch.images.reading import image_size
from metaf2n_arch.photos.jobs import Job
from metaf2n_arch.utils.checks import DataError

if TYPE_CHECKING:
    from metaf2n_arch.inference import MetaF2N

PATCH = 64
"""Side of the patch that is timed, in pixels."""
WORTHWHILE = 12 * PATCH**2
"""Least number of pixels for an estimate. The estimate takes as long as `PATCH`² pixels, a twelfth of this number."""
MENTIONED = 60.0
"""Least duration that is reported, in seconds."""
LONG = 600.0
"""Least duration, in seconds, with which faster ways are named."""
HEADERS = 1000
"""Largest number of photos whose headers are read. The others are assumed to have the same mean size."""


@dataclass(frozen=True)
class Duration:
    """Estimated duration.

    Attributes:
        pixels: of all photos together.
        per_pixel: seconds that one pixel takes.
    """

    pixels: float
    per_pixel: float

    @property
    def seconds(self) -> float:
        """Seconds for all photos, without the time for faces."""
        return self.pixels * self.per_pixel

    def __str__(self) -> str:
        line = (
            f'about {in_words(self.seconds)} on this CPU for {self.pixels / 1e6:.2g} megapixels '
            f'({in_words(1e6 * self.per_pixel)} per megapixel), and more for faces'
        )
        return f'{line}; a GPU or a smaller generator is faster' if self.seconds >= LONG else line


def estimate(sr: MetaF2N, jobs: Sequence[Job], clock: Callable[[], float] = time.perf_counter) -> Duration | None:
    """Estimates how long the generator will take for these photos; None on a GPU, and if it is less than `MENTIONED`.

    Args:
        sr: the restorer of photos, whose generator is timed.
        jobs: the photos; those that cannot be read count 0 pixels.
        clock: returns seconds.
    """
    if sr.device.type != 'cpu':
        return None
    known = [_pixels(job) for job in jobs[:HEADERS]]
    pixels = sum(known) * len(jobs) / max(1, len(known))
    if pixels < WORTHWHILE:
        return None
    _restore(sr, PATCH // 4)  # the first call spends most of its time on preparation
    begun = clock()
    _restore(sr, PATCH)
    found = Duration(pixels, (clock() - begun) / PATCH**2)
    return found if found.seconds >= MENTIONED else None


def in_words(seconds: float) -> str:
    """A duration in seconds, minutes or hours.

    >>> in_words(50), in_words(290), in_words(9000)
    ('50 seconds', '5 minutes', '2.5 hours')
    """
    if seconds < 90:
        return f'{seconds:.0f} seconds' if seconds >= 10 else f'{seconds:.1f} seconds'
    return f'{seconds / 60:.0f} minutes' if seconds < 5400 else f'{seconds / 3600:.1f} hours'


def _pixels(job: Job) -> int:
    try:
        height, width = image_size(job.source)
    except DataError:
        return 0
    return height * width


def _restore(sr: MetaF2N, side: int) -> None:
    import torch

    for _ in sr.networks.strips(None, torch.full((1, 3, side, side), 0.5), sr.options):
        pass
