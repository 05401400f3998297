"""Outcome of each photo, and the summary of all outcomes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from metaf2n_arch.photos.jobs import Job
from metaf2n_arch.utils.numbers import rounded

RESTORED, REFUSED, PASSED = 'restored', 'refused', 'passed over'


@dataclass(frozen=True)
class Outcome:
    """The outcome of a photo: restored, failed or passed over.

    Attributes:
        job: the photo.
        failed: why restoring failed; None if it did not.
        passed: why the photo was passed over, for example because its result exists; None if it was not.
        faces: number of faces found.
        adapted: whether the weights were adapted.
        size: width and height of the result.
        loss, psnr: share of the inner loss that adaptation removed, and gain of PSNR in dB, on held-out face patches.
        notes: notes for the user.
        listed: whether faces were only listed (``--list-faces``), not restored.
    """

    job: Job
    failed: str | None = None
    passed: str | None = None
    faces: int = 0
    adapted: bool = False
    size: tuple[int, int] = (0, 0)
    loss: float = 0.0
    psnr: float = 0.0
    notes: tuple[str, ...] = ()
    listed: bool = False

    def __str__(self) -> str:
        if self.failed is not None or self.passed is not None:
            return f'{_one_line(self.job.source)}: {self.failed or self.passed}'
        if self.listed:
            count = _count(self.faces, 'face') if self.faces else 'no face'
            return ''.join([f'{_one_line(self.job.target)}: {count}', *(f'\n  {note}' for note in self.notes)])
        faces = _count(self.faces, 'face') if self.faces else 'no face, restored unadapted'
        gain = f', {decibels(self.psnr)} on {"it" if self.faces == 1 else "them"}' if self.adapted else ''
        return ', '.join([f'{_one_line(self.job.target)}: {self.size[0]} x {self.size[1]}', faces + gain, *self.notes])

    @property
    def status(self) -> str:
        """`RESTORED`, `REFUSED` or `PASSED`."""
        return REFUSED if self.failed is not None else PASSED if self.passed is not None else RESTORED

    def record(self) -> dict[str, Any]:
        """The outcome as a dictionary, for a line of ``--results``."""
        line: dict[str, Any] = {'input': self.job.file, 'status': self.status}
        if self.status != RESTORED:
            return {**line, 'reason': self.failed or self.passed}
        line |= {'output': str(self.job.target), 'width': self.size[0], 'height': self.size[1], 'faces': self.faces}
        line |= {'adapted': self.adapted}
        if self.adapted:
            line |= {'psnr_gain': self.psnr, 'loss_removed': self.loss}
        return {**line, 'notes': list(self.notes)} if self.notes else line


@dataclass
class Summary:
    """Counts of outcomes.

    Attributes:
        restored, listed: photos restored, photos whose faces were listed.
        adapted: photos restored with adapted weights.
        faces: faces in all photos.
        without: photos restored that have no face.
        skipped: photos left out because their results exist.
        gained: sum of the gains of PSNR in dB over the adapted photos.
        failed: outcomes of the photos that failed.
        passed: reason for passing photos over -> number of photos.
    """

    restored: int = 0
    listed: int = 0
    adapted: int = 0
    faces: int = 0
    without: int = 0
    skipped: int = 0
    gained: float = 0.0
    failed: list[Outcome] = field(default_factory=list)
    passed: dict[str, int] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        if outcome.failed is not None:
            self.failed.append(outcome)
        elif outcome.passed is not None:
            self.passed[outcome.passed] = self.passed.get(outcome.passed, 0) + 1
        elif outcome.listed:
            self.listed += 1
            self.faces += outcome.faces
        else:
            self.restored += 1
            self.faces += outcome.faces
            self.without += outcome.faces == 0
            if outcome.adapted:
                self.adapted += 1
                self.gained += outcome.psnr

    def __str__(self) -> str:
        gain = f' ({decibels(self.gained / self.adapted)} on the faces on average)' if self.adapted else ''
        parts = [
            f'{_count(self.restored, "photo")} restored, {_count(self.faces, "face")}, {self.adapted} adapted{gain}'
        ]
        if self.listed:
            parts = [f'{_count(self.listed, "photo")} searched, {_count(self.faces, "face")} found']
        parts += [f'{self.without} without a face, restored unadapted'] if self.without else []
        parts += [f'{self.skipped} skipped'] if self.skipped else []
        parts += [f'{number} passed over ({reason})' for reason, number in self.passed.items()]
        parts += [f'{len(self.failed)} failed'] if self.failed else []
        return ', '.join(parts)


def decibels(value: float) -> str:
    """A gain as text; a value that rounds to zero has no minus sign.

    >>> decibels(-0.001), decibels(1.2345)
    ('+0.00 dB', '+1.23 dB')
    """
    return f'{rounded(value, 2):+.2f} dB'


def _count(number: int, what: str) -> str:
    return f'{number} {what}{"" if number == 1 else "s"}'


def _one_line(path: object) -> str:
    """A path on one line; line breaks and control characters of a terminal are escaped."""
    return ''.join(c if c.isprintable() else repr(c)[1:-1] for c in str(path))
