"""Table of the gain of one step after meta-training, separate from tone, from fine-tuning and from a worse start.

    python tests/benchmarks/meta_training_table.py measure START ARM=OUTPUTS ... CASES
    python tests/benchmarks/meta_training_table.py table

START and OUTPUTS are folders written by `adaptation_outputs.py`: START for the weights before training, OUTPUTS for
each arm of `meta_training.py`. CASES stands for `--portraits FOLDER ... --set14 SET14/GT --seeds 1 --turns`. `measure`
writes results/meta_training.csv, and `table` makes results/meta_training.md from it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from adaptation_outputs import parser
from adaptation_rows import Row, changes, chosen, measured, read, signed, write
from adaptation_study import RESULTS, setting_of
from meta_training import ARMS

ROWS, TABLE = RESULTS / 'meta_training.csv', RESULTS / 'meta_training.md'
START = 'before'


def comparable(rows: Sequence[Row]) -> list[Row]:
    """The rows of cases that all weights have, with the same supports, so that all means are over the same photos."""
    names = {row.weights for row in rows}
    seen: dict[tuple[object, ...], set[str]] = {}
    for row in rows:
        seen.setdefault((row.case, row.step, row.support), set()).add(row.weights)
    whole = [row for row in rows if seen[row.case, row.step, row.support] == names]
    stepped = {row.case for row in whole if row.step != 'none'}
    return [row for row in whole if row.shows == 'no face' or row.case in stepped]


def cells(rows: Sequence[Row], start: Sequence[Row], support: str, shows: str) -> list[str]:
    """PSNR without and with the step, and the gain of the step; first without the colour fix, then with it."""
    made = []
    for color_fix in ('none', 'lowfreq'):
        seen = chosen(rows, shows=shows, color_fix=color_fix)
        resting = chosen(seen, step='none')
        made.append(f'{np.mean([row.psnr for row in resting]):.2f}')
        if color_fix == 'none':
            before = chosen(start, shows=shows, color_fix=color_fix, step='none')
            made.append(signed(changes(resting, before, 'psnr').mean, 2))
        if shows == 'face':
            moved = chosen(seen, step='0.01', support=support)
            gain = changes(moved, resting, 'psnr')
            made += [f'{np.mean([row.psnr for row in moved]):.2f}']
            made += [f'{signed(gain.mean, 2)} ± {gain.spread:.2f}', signed(gain.worst, 2)]
    return made


def table(rows: Sequence[Row], support: str) -> list[str]:
    """Table of the portraits: one line per arm."""
    lines = [
        '| weights | θ | against before | θ′ | step: mean ± sd | worst | fix(θ) | fix(θ′) | step: mean ± sd | worst |',
        '|' + '---|' * 10,
    ]
    start = chosen(rows, weights=START)
    for name in (START, *ARMS):
        own = chosen(rows, weights=name)
        if chosen(own, support=support):
            lines.append('| ' + ' | '.join([name, *cells(own, start, support, 'face')]) + ' |')
    return lines


def others(rows: Sequence[Row]) -> list[str]:
    """Table of the photographs without a face: no step, so only the effect of training on θ."""
    lines = ['| weights | θ | against before | fix(θ) |', '|' + '---|' * 4]
    start = chosen(rows, weights=START)
    for name in (START, *ARMS):
        if own := chosen(rows, weights=name):
            lines.append('| ' + ' | '.join([name, *cells(own, start, 'none', 'no face')]) + ' |')
    return lines


def document(rows: Sequence[Row], setting: str) -> str:
    """The whole Markdown file."""
    count = {shows: len({row.case for row in chosen(rows, shows=shows)}) for shows in ('face', 'no face')}
    text = [
        '# Meta-training, small: what one step gains, and what of it is tone',
        '',
        setting,
        '',
        f'{count["face"]} portraits and {count["no face"]} photographs without a face (Set14), not trained on,',
        'under iid and ood in turn. PSNR of the luma in dB. θ: the trained weights as they are; θ′: after one step',
        'at α = 0.01 on 16 patches of 16² of the face; fix(...): with the colour fix, so that tone no longer counts.',
        '`step` is θ′ against θ of the same case; `worst` the case that it harms most.',
    ]
    for support in ('true face', 'erring face'):
        if chosen(rows, support=support):
            text += ['', f'## Portraits, support: {support}', '', *table(rows, support)]
    text += ['', '## Photographs without a face', '', *others(rows)]
    return '\n'.join(text) + '\n'


def main() -> None:
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = command.add_subparsers(dest='part', required=True)
    measure = parts.add_parser('measure', parents=[parser(add_help=False)])
    measure.add_argument('start', type=Path)
    measure.add_argument('arms', nargs='+', metavar='ARM=OUTPUTS')
    parts.add_parser('table')
    args = command.parse_args()
    if args.part == 'measure':
        rows = measured(args, args.start, START)
        for name, folder in (arm.split('=', 1) for arm in args.arms):
            rows += measured(args, Path(folder), name)
        write(comparable(rows), ROWS)
    TABLE.write_text(document(read(ROWS), setting_of(TABLE)), encoding='utf-8')


if __name__ == '__main__':
    main()
