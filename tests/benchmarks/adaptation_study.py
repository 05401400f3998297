"""Adaptation study: effect of one step, of the colour fix, and of both on Real-ESRGAN x4plus (not meta-trained).

    python tests/benchmarks/adaptation_outputs.py X4PLUS OUTPUTS CASES --steps none 0.01 auto
    python tests/benchmarks/adaptation_study.py measure OUTPUTS CASES
    python tests/benchmarks/adaptation_study.py table

CASES stands for `--portraits FOLDER ... --set14 SET14/GT`, the same in both commands. `measure` writes
results/adaptation_study.csv, and `table` makes results/adaptation_study.md from it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from adaptation_material import FAMILIES, SUPPORTS
from adaptation_outputs import parser
from adaptation_rows import METRICS, Row, added, changes, chosen, measured, read, signed, write

RESULTS = Path(__file__).with_name('results')
ROWS, TABLE = RESULTS / 'adaptation_study.csv', RESULTS / 'adaptation_study.md'

ARMS: dict[str, dict[str, Any]] = {
    'plain': {'inner_steps': 0, 'color_fix': 'none'},
    'colour fix': {'inner_steps': 0, 'color_fix': 'lowfreq'},
    'fixed step': {'inner_lr': 0.01, 'color_fix': 'none'},
    'fixed step, colour fix': {'inner_lr': 0.01, 'color_fix': 'lowfreq'},
    'auto': {'inner_lr': 'auto', 'color_fix': 'none'},
    'auto, colour fix': {'inner_lr': 'auto', 'color_fix': 'lowfreq'},
}
"""Arms as options of `metaf2n restore`."""


def of_arm(rows: Sequence[Row], arm: str, support: str) -> list[Row]:
    """The rows of an arm. Arms with a step have no photos without a face."""
    options = ARMS[arm]
    step = 'none' if options.get('inner_steps') == 0 else str(options['inner_lr'])
    wanted = {'step': step, 'support': 'none' if step == 'none' else support, 'color_fix': options['color_fix']}
    return chosen(rows, **wanted)


def table(rows: Sequence[Row], support: str, shows: str) -> list[str]:
    """Table of each arm's change from the plain output: mean ± standard deviation over cases, and worst PSNR."""
    rows = chosen(rows, shows=shows)
    plain = of_arm(rows, 'plain', support)
    lines = [
        '| arm | cases | PSNR, dB | change: mean ± sd | worst | by seed | SSIM | change | NIQE | change |',
        '|' + '---|' * 10,
    ]
    for arm in ARMS:
        own = of_arm(rows, arm, support)
        if not own:
            continue
        psnr, ssim, niqe = (changes(own, plain, metric) for metric in METRICS)
        seeds = sorted({row.seed for row in own})
        by_seed = [changes([row for row in own if row.seed == seed], plain, 'psnr').mean for seed in seeds]
        level = {metric: np.mean([getattr(row, metric) for row in own]) for metric in METRICS}
        cells = [
            arm,
            str(psnr.count),
            f'{level["psnr"]:.2f}',
            f'{signed(psnr.mean, 2)} ± {psnr.spread:.2f}',
            signed(psnr.worst, 2),
            ', '.join(signed(mean, 2) for mean in by_seed),
            f'{level["ssim"]:.4f}',
            signed(ssim.mean, 4),
            f'{level["niqe"]:.2f}',
            signed(niqe.mean, 2),
        ]
        lines.append('| ' + ' | '.join(cells) + ' |')
    return lines


def tones(rows: Sequence[Row], support: str) -> str:
    """Sentence on the drift of tones after the fixed step, and on the gain if only steps without drift are taken."""
    before = {row.case: row for row in of_arm(rows, 'plain', support) if row.shows == 'face'}
    after = {row.case: row for row in of_arm(rows, 'fixed step', support)}
    gains = np.array([after[case].psnr - before[case].psnr for case in after])
    drifts = np.array([after[case].drift - before[case].drift for case in after])
    kept = np.where(drifts <= 0, gains, 0)
    return (
        f'Of {len(gains)} steps the change of drift has the opposite sign of the change of PSNR in '
        f'{int((gains * drifts < 0).sum())}. Taking the step only where the drift does not grow '
        f'({int((drifts <= 0).sum())} times), without colour fix: {signed(float(kept.mean()), 2)} dB in the mean, '
        f'{signed(float(kept.min()), 2)} at worst.'
    )


def on_top(rows: Sequence[Row], support: str) -> list[str]:
    """Sentences on the change of the steps with colour fix from the colour fix alone, on the same cases."""
    rows = chosen(rows, shows='face')
    fix = of_arm(rows, 'colour fix', support)
    alone = {row.case: row for row in fix}
    lines = []
    for arm in ('fixed step, colour fix', 'auto, colour fix'):
        own = of_arm(rows, arm, support)
        if own:
            psnr, ssim, niqe = (changes(own, fix, metric) for metric in METRICS)
            taken = sum(replace(row, step='none', support='none') != alone[row.case] for row in own)
            lines.append(
                f'{arm.capitalize()}, against the colour fix alone: taken in {taken} of {psnr.count} cases, '
                f'{signed(psnr.mean, 3)} ± {psnr.spread:.3f} dB, {signed(psnr.worst, 3)} at worst; '
                f'SSIM {signed(ssim.mean, 4)}, NIQE {signed(niqe.mean, 3)}.'
            )
    return lines


def document(rows: Sequence[Row], setting: str) -> str:
    """The whole Markdown file."""
    portraits, others = (len({row.photo for row in chosen(rows, shows=shows)}) for shows in ('face', 'no face'))
    text = [
        '# What a step of adaptation does to weights that were not meta-trained',
        '',
        setting,
        '',
        f'{portraits} portraits and {others} photographs of Set14 without a face, each under a draw of',
        f'{" and of ".join(FAMILIES)} for each of {len({row.seed for row in rows})} seeds. Changes are against',
        'the plain output of the same case, `worst` is the case that lost most PSNR, `by seed` the mean of each',
        'seed. The step runs on 16 patches of 16² of the face, every pixel trusted alike (W = 1). A photo without',
        'a face has no step to take.',
    ]
    for support in SUPPORTS:
        if chosen(rows, support=support):
            text += ['', f'## Portraits, support: {support}', '', *table(rows, support, 'face')]
            text += ['', tones(rows, support), *(line for found in on_top(rows, support) for line in ('', found))]
    text += ['', '## Photographs without a face', '', *table(rows, 'none', 'no face')]
    return '\n'.join(text) + '\n'


def setting_of(file: Path) -> str:
    """The line below the title that states how the rows were made, taken from the existing file."""
    if not file.is_file():
        return 'Setting: not written down yet.'
    lines = file.read_text(encoding='utf-8').splitlines()
    return next((line for line in lines if line.startswith('Setting:')), 'Setting: not written down yet.')


def main() -> None:
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = command.add_subparsers(dest='part', required=True)
    measure = parts.add_parser('measure', parents=[parser(add_help=False)])
    measure.add_argument('outputs', type=Path)
    measure.add_argument('--add', action='store_true', help='keep the rows of what OUTPUTS does not hold')
    parts.add_parser('table')
    args = command.parse_args()
    if args.part == 'measure':
        rows = measured(args, args.outputs, 'x4plus')
        write(added(read(ROWS), rows) if args.add else rows, ROWS)
    TABLE.write_text(document(read(ROWS), setting_of(TABLE)), encoding='utf-8')


if __name__ == '__main__':
    main()
