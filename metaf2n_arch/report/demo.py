"""Demo: trains a small generator with ``basicsr.train``, then shows the gain of adaptation on an unseen photograph."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console
from rich.table import Table

from metaf2n_arch.images.arrays import to_tensor, to_uint8
from metaf2n_arch.images.reading import read_image
from metaf2n_arch.report.figures import Panel, loss_curves, side_by_side
from metaf2n_arch.report.log import series_of
from metaf2n_arch.utils.checks import DataError, make_folder
from metaf2n_arch.utils.files import write_whole
from metaf2n_arch.utils.numbers import rounded
from metaf2n_arch.utils.options import parse_block
from metaf2n_arch.utils.resources import option_file

OPTION_FILE = 'demo_metaf2n_ssl.yml'
CURVES = {
    'outer loss on naturals': ['l_g_total_unadapted', 'l_g_total'],
    'inner loss on faces': ['l_inner', 'l_inner_adapted'],
    'terms of the outer loss': ['l_g_l1', 'l_g_ssl'],
}
SMALL_STEPS, SMALL_STEP = 30, 0.3
"""Number of small steps of the last column, and their step size as a fraction of `inner_lr`."""
SHOWN = 3
"""Number of rows of the picture. They are the first degradations, not chosen ones."""


@dataclass(frozen=True)
class Outcome:
    """Metrics of one validation image.

    Attributes:
        name: of the image.
        degradation: in words, see `describe`.
        bicubic: metric -> value of the bicubically enlarged input.
        unadapted: the same of the output without adaptation.
        adapted: the same of the output after one step, as in training.
        settled: the same of the output after `SMALL_STEPS` small steps.
        image: the output after the small steps, (H, W, 3) uint8 RGB.
    """

    name: str
    degradation: str
    bicubic: dict[str, float]
    unadapted: dict[str, float]
    adapted: dict[str, float]
    settled: dict[str, float]
    image: np.ndarray


def run_demo(out: Path) -> None:
    """Runs ``python -m basicsr.train`` on the demo's option file and writes table, picture and curves into `out`.

    Raises:
        DataError: `out` cannot be written, or the training fails; its own output says why.
    """
    make_folder(out)
    console = Console()
    source = option_file(OPTION_FILE)
    options = yaml.safe_load(source.read_text(encoding='utf-8'))
    shown = Path('options') / OPTION_FILE
    shown = shown if shown.is_file() and shown.samefile(source) else source
    console.print('The demo trains for a few minutes on a CPU, then writes a table and pictures.')
    console.print(f'Training with BasicSR:  [bold]python -m basicsr.train -opt {shown}[/bold]\n', soft_wrap=True)
    # A second thread makes so small a network no faster, and much slower if another program uses a core.
    environment = {'OMP_NUM_THREADS': '1', **os.environ}
    command = [sys.executable, '-m', 'basicsr.train', '-opt', str(shown)]
    if code := _wait(subprocess.Popen(command, env=environment)):
        raise DataError(f'the training failed with exit code {code}; its last lines above say why.')

    experiment = Path('experiments') / options['name']
    outcomes = read_outcomes(experiment, options)
    write_whole(out / 'table.md', markdown_table(outcomes))
    console.print(_rich_table(outcomes))
    rows = [_row(experiment, validation_folder(options), outcome, options['scale']) for outcome in outcomes[:SHOWN]]
    picture = side_by_side(rows, out / 'side_by_side.png', 'PSNR / SSIM of the whole photograph, luma')
    curves = loss_curves(series_of([experiment]), CURVES, out / 'loss_curves.png')
    console.print(f'Written: {out / "table.md"}, {picture}, {curves}', soft_wrap=True)


def _wait(training: subprocess.Popen[bytes]) -> int:
    """Waits for the training and returns its exit code. After Ctrl-C, waits until the training has saved and ended."""
    try:
        return training.wait()
    except KeyboardInterrupt:
        training.wait()
        raise


def validation_folder(options: dict[str, Any]) -> Path:
    """The folder that the demo's validation set creates for the options of its block."""
    from metaf2n_arch.data.demo_dataset import DemoFacePairDatasetOptions

    block = {'scale': options['scale'], 'phase': 'val', **options['datasets']['val']}
    return parse_block(DemoFacePairDatasetOptions, block, 'datasets.val').folder


def read_outcomes(experiment: Path, options: dict[str, Any]) -> list[Outcome]:
    """Reads the metrics of the validation, and computes those of bicubic enlargement and of the small steps."""
    name = options['datasets']['val']['name']
    root = validation_folder(options)
    metrics = json.loads((experiment / f'metrics_{name}.json').read_text(encoding='utf-8'))['images']
    draws = json.loads((root / 'draws.json').read_text(encoding='utf-8'))['images']
    net = _trained(experiment, options)
    outcomes = []
    for number, (image, draw) in enumerate(sorted(draws.items())):
        bicubic = _bicubic(root, image, options['scale'])
        settled, truth = _settled(net, root, image, options, number), read_image(root / 'GT' / f'{image}.png')
        outcomes.append(
            Outcome(
                name=image,
                degradation=describe(draw),
                bicubic=_evaluate(bicubic, truth, options['val']['metrics']),
                unadapted={metric: values[image] for metric, values in metrics['unadapted'].items()},
                adapted={metric: values[image] for metric, values in metrics['result'].items()},
                settled=_evaluate(settled, truth, options['val']['metrics']),
                image=settled,
            )
        )
    return outcomes


def _trained(experiment: Path, options: dict[str, Any]) -> Any:
    """The generator after the training."""
    import torch
    from basicsr.archs import build_network

    net = build_network(dict(options['network_g']))
    file = experiment / 'models' / f'net_g_{options["train"]["total_iter"]}.pth'
    net.load_state_dict(torch.load(file, map_location='cpu', weights_only=True)['params'])
    return net


def _settled(net: Any, root: Path, image: str, options: dict[str, Any], number: int) -> np.ndarray:
    """The photograph restored after many small steps on its face, for which the generator was not trained.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    import torch

    from metaf2n_arch.meta.params import functional
    from metaf2n_arch.meta.photo import adapt_to_faces

    face = tuple(to_tensor(read_image(root / part / f'{image}_0.png')) for part in ('Face_LQ', 'Face_HQ'))
    found = adapt_to_faces(
        net,
        None,
        [(face[0], face[1])],
        np.random.default_rng(number),
        patches=options['face']['patches'],
        lq_patch_size=options['face']['patch_size'] // options['scale'],
        inner_lr=SMALL_STEP * options['meta']['inner_lr'],
        inner_steps=SMALL_STEPS,
    )
    assert found is not None
    with torch.no_grad():
        lq = to_tensor(read_image(root / 'LQ' / f'{image}.png'))[None]
        return to_uint8(functional(net)(found.fast_params, lq))


def describe(draw: dict[str, Any]) -> str:
    """Describes a degradation in a few words: gains of the light, standard deviations of the blur in pixels, noise."""
    stage = draw['stages'][0]
    kernel = np.array(stage['kernel'])
    axis = np.arange(len(kernel)) - len(kernel) // 2
    spread = [float(np.sqrt((kernel.sum(a) * axis**2).sum())) for a in (0, 1)]
    noise = '' if stage['noise'] == 'none' else f', noise {stage["strength"][0]:g}-{stage["strength"][1]:g}'
    light = ', '.join(f'{gain:.2f}' for gain in draw['light'])
    return f'light {light}; blur {spread[0]:.1f} x {spread[1]:.1f}{noise}'


def _cells(outcomes: list[Outcome]) -> list[list[str]]:
    kinds = [[o.bicubic, o.unadapted, o.adapted, o.settled] for o in outcomes]
    psnr = np.array([[values['psnr'] for values in row] for row in kinds])
    gains = psnr[:, 2:] - psnr[:, 1:2]
    rows = [
        [outcome.name, outcome.degradation, *(f'{v:.2f}' for v in values), *(_signed(g) for g in gain)]
        for outcome, values, gain in zip(outcomes, psnr, gains)
    ]
    return [*rows, ['mean', '', *(f'{v:.2f}' for v in psnr.mean(0)), *(_spread(column) for column in gains.T)]]


def _spread(gains: np.ndarray) -> str:
    deviation = f' ± {gains.std(ddof=1):.2f}' if len(gains) > 1 else ''
    return f'{_signed(gains.mean())}{deviation}, least {_signed(gains.min())}'


def _signed(value: float) -> str:
    """A value with sign and two digits; a value that rounds to zero has no minus sign."""
    return f'{rounded(float(value), 2):+.2f}'


_HEAD = ['image', 'degradation', 'bicubic', 'not adapted', 'one step', f'{SMALL_STEPS} small steps']
_HEAD += ['gain of one', f'gain of {SMALL_STEPS}']
_TITLE = 'PSNR in dB (luma, 4 pixels cropped) of a photograph and degradations not trained on'
_NOTE = (
    'Adaptation uses the true face in place of a restored one, so the gains are an upper bound. Gains are mean ± '
    'standard deviation over the degradations. Nearly all of the gain is a correction of tones: the photograph alone '
    'does not show the colour of the light, the true face does. The network was meta-trained for one step; the small '
    'steps show how far adaptation to the face can go.'
)


def markdown_table(outcomes: list[Outcome]) -> str:
    """The table as Markdown."""
    lines = [_HEAD, ['---'] * len(_HEAD), *_cells(outcomes)]
    return f'{_TITLE}\n\n' + '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines) + f'\n\n{_NOTE}\n'


def _rich_table(outcomes: list[Outcome]) -> Table:
    table = Table(*_HEAD, title=_TITLE, caption=_NOTE)
    for line in _cells(outcomes):
        table.add_row(*line, style='bold' if line[0] == 'mean' else '')
    return table


def _row(experiment: Path, val: Path, outcome: Outcome, scale: int) -> list[Panel]:
    """A row of pictures from LQ to GT, cropped around the face, with the metrics of the whole image."""
    results = experiment / 'visualization' / outcome.name
    adapted = max(results.glob('*.png'), key=lambda path: path.stat().st_mtime)
    gt = read_image(val / 'GT' / f'{outcome.name}.png')
    images = [
        (
            _enlarge(read_image(val / 'LQ' / f'{outcome.name}.png'), scale),
            f'LQ ({outcome.degradation})',
            outcome.bicubic,
        ),
        (read_image(results / 'unadapted' / adapted.name), 'not adapted', outcome.unadapted),
        (read_image(adapted), 'one step', outcome.adapted),
        (outcome.image, f'{SMALL_STEPS} small steps', outcome.settled),
        (gt, 'GT', None),
    ]
    height, width = gt.shape[:2]
    window = slice(0, height * 5 // 8), slice(width // 5, width // 5 + width * 5 // 8)
    captions = ['bicubic: ' + _caption(outcome.bicubic), *(_caption(values) for _, _, values in images[1:])]
    return [Panel(image[window], title, caption) for (image, title, _), caption in zip(images, captions)]


def _caption(values: dict[str, float] | None) -> str:
    return '' if values is None else f'{values["psnr"]:.2f} dB / {values["ssim"]:.4f}'


def _enlarge(image: np.ndarray, scale: int) -> np.ndarray:
    """An image (H, W, 3) enlarged by nearest neighbour, which shows each pixel of the input as a square."""
    return image.repeat(scale, 0).repeat(scale, 1)


def _bicubic(root: Path, image: str, scale: int) -> np.ndarray:
    import cv2

    lq = read_image(root / 'LQ' / f'{image}.png')
    return cv2.resize(lq, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)


def _evaluate(image: np.ndarray, gt: np.ndarray, metrics: dict[str, dict[str, Any]]) -> dict[str, float]:
    from basicsr.metrics import calculate_metric

    data = {'img': image[..., ::-1], 'img2': gt[..., ::-1]}
    return {name: float(calculate_metric(data, options)) for name, options in metrics.items()}
