"""What `step_probe.py` has tried: its rows as CSV, and the table that is made of them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from adaptation_material import SUPPORTS
from adaptation_rows import METRICS, Row, signed

FINE = 4.0
"""The loss `detail` compares what a Gaussian of so many pixels of the result takes away."""
DIRECTIONS = {
    'l1 16': ('l1', 16),
    'fixed 16': ('fixed', 16),
    'detail 16': ('detail', 16),
}
"""Name of a gradient: the inner loss and the number of patches of the face."""
WITH_PARTS = ('l1 16', 'fixed 16')
"""The gradients of which parts are tried."""
BEHIND = 'fixed 16'
"""The step that is tried where the guarded step lost."""
PLAINLY = 'guarded, plain'
"""Name in the rows of `adaptation_study` of a guarded step that compares the plain output with the face."""
LOST = 0.02
"""A loss of that step in dB that is looked at."""
PARTS = {'all': ('*',), 'last': ('conv_up*', 'conv_hr*', 'conv_last*')}
"""Name patterns of the tensors that move."""
RATES = (0.01, 0.03, 0.1)
SIGMAS = (0.5, 0.8, 1.2)
"""Of the blur without a step, in pixels of the result."""
Variant = tuple[str, str, float]
"""Direction, tensors, step size."""
ORACLE, BLUR, NONE = 'oracle', 'blur', 'none'
"""The direction that knows the truth; no step, but a blur of the result, whose `rate` is σ; the support of both."""


@dataclass(frozen=True)
class Probe:
    """One step: what it changes, and the cosine between its direction and that of the oracle, over the same tensors."""

    weights: str
    photo: str
    family: str
    seed: int
    support: str
    direction: str
    part: str
    rate: float
    psnr: float
    ssim: float
    niqe: float
    cosine: float

    @property
    def variant(self) -> Variant:
        return self.direction, self.part, self.rate


def read(file: Path) -> list[Probe]:
    """Rows from CSV; none where there is no file."""
    if not file.is_file():
        return []
    numbers = {'seed': int, **dict.fromkeys(('rate', *METRICS, 'cosine'), float)}
    with open(file, encoding='utf-8', newline='') as stream:
        lines = list(csv.DictReader(stream))
    return [Probe(**{key: numbers.get(key, str)(value) for key, value in line.items()}) for line in lines]


def write(rows: Sequence[Probe], file: Path) -> None:
    """Rows as CSV."""
    with open(file, 'w', encoding='utf-8', newline='') as stream:
        table = csv.DictWriter(stream, [field.name for field in fields(Probe)], lineterminator='\n')
        table.writeheader()
        table.writerows(asdict(row) for row in rows)


def losses_of_auto(rows: Sequence[Row]) -> dict[tuple[str, str, int, str], float]:
    """What the plainly compared step changed, by case and support, where it lost more than `LOST` behind the fix."""
    rows = [row for row in rows if row.color_fix == 'lowfreq']
    before = {row.case: row.psnr for row in rows if row.step == 'none'}
    changes = {(*row.case, row.support): row.psnr - before[row.case] for row in rows if row.step == PLAINLY}
    return {where: change for where, change in changes.items() if change < -LOST}


def where_auto_lost(rows: Sequence[Probe], study: Sequence[Row]) -> list[str]:
    """For each such case the guarded step beside steps behind the colour fix."""
    lost = losses_of_auto(study)
    lines = ['| portrait | family | seed | support | guarded | α | PSNR, dB | SSIM | NIQE |', '|' + '---|' * 9]
    for row in rows:
        auto = lost.get((row.photo, row.family, row.seed, row.support))
        if auto is not None and row.direction == BEHIND and row.rate in RATES[:2]:
            where = [row.photo, row.family, str(row.seed), row.support, signed(auto, 3), f'{row.rate:g}']
            lines.append(
                '| ' + ' | '.join([*where, signed(row.psnr, 3), signed(row.ssim, 4), signed(row.niqe, 2)]) + ' |'
            )
    return lines


def cells(rows: Sequence[Probe]) -> list[str]:
    """Changes of one variant: PSNR with its spread and worst case, SSIM, NIQE."""
    psnr, ssim, niqe = (np.array([getattr(row, metric) for row in rows]) for metric in METRICS)
    spread = f' ± {psnr.std(ddof=1):.2f}' if len(rows) > 1 else ''
    means = signed(float(ssim.mean()), 3), signed(float(niqe.mean()), 2)
    return [signed(float(psnr.mean()), 2) + spread, signed(float(psnr.min()), 2), *means]


def table(rows: Sequence[Probe]) -> list[str]:
    """For each weights and support: each direction, part and step size."""
    lines = []
    for weights in dict.fromkeys(row.weights for row in rows):
        for support in SUPPORTS:
            own = [row for row in rows if row.weights == weights and row.support in (support, NONE) and row.seed == 0]
            if any(row.support == support for row in own):
                lines += ['', f'## {weights}, support: {support}', '', *of_support(own)]
    return lines


def of_support(rows: Sequence[Probe]) -> list[str]:
    """One table."""
    lines = [
        '| gradient | tensors | α | PSNR, dB: mean ± sd | worst | SSIM | NIQE | cosine to the oracle |',
        '|' + '---|' * 8,
    ]
    for direction in (*DIRECTIONS, ORACLE, BLUR):
        for part in (*PARTS, NONE):
            for rate in (*RATES, *SIGMAS):
                own = [row for row in rows if row.variant == (direction, part, rate)]
                if own:
                    alike = f'{np.mean([row.cosine for row in own]):.2f}' if direction != BLUR else ''
                    size = f'σ = {rate:g}' if direction == BLUR else f'{rate:g}'
                    lines.append('| ' + ' | '.join([direction, part, size, *cells(own), alike]) + ' |')
    return lines


def whole(rows: Sequence[Probe], study: Sequence[Row], setting: str) -> str:
    """The whole file."""
    count = len({(row.photo, row.family) for row in rows if row.seed == 0})
    text = [
        '# Which step gains detail',
        '',
        setting,
        '',
        f'{count} portraits, not trained on, under iid and ood in turn: fix(θ′) against fix(θ). Gradient: L1 on 16',
        'patches of the face, as they are (`l1`), behind a colour fix by one Gaussian (`fixed`), or of what is finer',
        f'than a Gaussian of {FINE:g} pixels (`detail`). Tensors: all, or those behind the body of RRDBNet (`last`).',
        '`oracle`: the gradient of the error of the whole photo behind the colour fix, which only the truth gives; the',
        'cosine compares with it. `blur`: no step at all, but fix(θ) under a Gaussian: what smoothing alone is worth.',
        *table(rows),
        '',
        '## Where the guarded step lost',
        '',
        '`adaptation_study.csv` keeps a guarded step that compares the plain output with the face (α up to 0.01), as',
        f'`restore` once did. All cases in which it lost more than {LOST:g} dB on top of the colour fix, and the step',
        'behind the colour fix there (`fixed`, all tensors), without any guard.',
        '',
        *where_auto_lost(rows, study),
    ]
    return '\n'.join(text) + '\n'
