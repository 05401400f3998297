"""Rows of the adaptation studies: measured from outputs, stored as CSV, summarised per arm.

A row is one output of one case. Summaries need only the rows, so that a test can compute every table again.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import product
from pathlib import Path

import numpy as np
import torch
from adaptation_material import SCALE, Case
from adaptation_outputs import cases, file_of, study_photos
from torch import Tensor

from metaf2n_arch.images.arrays import to_uint8
from metaf2n_arch.metrics.niqe_metric import calculate_niqe_y
from metaf2n_arch.metrics.psnr_y_metric import calculate_psnr_y
from metaf2n_arch.metrics.ssim_y_metric import calculate_ssim_y

METRICS = ('psnr', 'ssim', 'niqe')
DIGITS = {'psnr': 4, 'ssim': 5, 'niqe': 4, 'drift': 3}


@dataclass(frozen=True)
class Row:
    """One measured output: its weights, photo, degradation, support, step and colour fix, and its metrics.

    `drift` is the mean of |low(x) - low(down(y))| in grey levels of 255: the difference of its tones from the photo's.
    """

    weights: str
    photo: str
    shows: str
    family: str
    seed: int
    support: str
    step: str
    color_fix: str
    psnr: float
    ssim: float
    niqe: float
    drift: float

    @property
    def case(self) -> tuple[str, str, int]:
        return self.photo, self.family, self.seed


def measure(output: Tensor, case: Case) -> dict[str, float]:
    """PSNR and SSIM of the luma (border of four pixels cropped), NIQE, all of 8-bit images, and the drift."""
    from metaf2n_arch.functional.low_frequency import drift

    result, truth = to_uint8(output)[..., ::-1], to_uint8(case.photo.image)[..., ::-1]
    values = {
        'psnr': calculate_psnr_y(result, truth, crop_border=SCALE),
        'ssim': calculate_ssim_y(result, truth, crop_border=SCALE),
        'niqe': calculate_niqe_y(result),
        'drift': 255 * float(drift(output[None], case.lq[None])),
    }
    return {name: round(value, DIGITS[name]) for name, value in values.items()}


def measured(args: argparse.Namespace, outputs: Path, weights: str) -> list[Row]:
    """The rows of all outputs that exist, each without and with the colour fix."""
    from metaf2n_arch.functional.color_fix import ColorFix

    rows = []
    for case in cases(study_photos(args), args.seeds, args.turns):
        supports = args.supports if case.photo.face else []
        arms = [('none', 'none'), *((step, support) for step in ('0.01', 'auto') for support in supports)]
        for (step, support), kind in product(arms, ('none', 'lowfreq')):
            # The guarded step takes the colour fix into account, so its outputs differ with and without it.
            name = {'none': 'plain', '0.01': f'0.01 {support}', 'auto': f'auto {kind} {support}'}[step]
            file = file_of(outputs, case, name)
            if not file.exists():
                continue
            output = torch.from_numpy(np.load(file).astype(np.float32))
            image = ColorFix(kind)(output[None], case.lq[None])[0]
            shows = 'face' if case.photo.face else 'no face'
            where = (weights, case.photo.name, shows, case.family, case.seed, support, step, kind)
            rows.append(Row(*where, **measure(image, case)))
    return rows


def write(rows: Iterable[Row], file: Path) -> None:
    """Writes rows as CSV."""
    with open(file, 'w', encoding='utf-8', newline='') as stream:
        table = csv.DictWriter(stream, [field.name for field in fields(Row)], lineterminator='\n')
        table.writeheader()
        table.writerows(asdict(row) for row in rows)


def read(file: Path) -> list[Row]:
    """Reads rows from CSV."""
    with open(file, encoding='utf-8', newline='') as stream:
        return [
            Row(**{**line, 'seed': int(line['seed']), **{name: float(line[name]) for name in DIGITS}})
            for line in csv.DictReader(stream)
        ]


def added(old: Iterable[Row], new: Iterable[Row]) -> list[Row]:
    """The old rows and the new ones, which replace those of the same output."""
    return list({(row.weights, row.case, row.support, row.step, row.color_fix): row for row in (*old, *new)}.values())


@dataclass(frozen=True)
class Change:
    """Change of a metric between two arms on the same cases: mean, standard deviation, worst case, number of cases."""

    mean: float
    spread: float
    worst: float
    count: int


def changes(rows: Sequence[Row], base: Sequence[Row], metric: str) -> Change:
    """Compares `rows` with the rows of `base` of the same cases; cases that are not in both are left out."""
    before = {row.case: getattr(row, metric) for row in base}
    found = np.array([getattr(row, metric) - before[row.case] for row in rows if row.case in before])
    worst = found.max() if metric == 'niqe' else found.min()
    return Change(float(found.mean()), float(found.std(ddof=1)), float(worst), len(found))


def chosen(rows: Iterable[Row], **wanted: str) -> list[Row]:
    """The rows whose fields have these values."""
    return [row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())]


def signed(value: float, digits: int) -> str:
    """A number with its sign; a number that rounds to zero has none."""
    text = f'{value:+.{digits}f}'
    return text if float(text) else f'{0:.{digits}f}'
