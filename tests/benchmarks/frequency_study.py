"""Frequency study at a small scale: several arms from one start, several seeds, on photographs, on a CPU.

    python tests/benchmarks/frequency_study.py --set14 SET14 --output docs/frequency_study.md

All arms of a seed continue the same generator (trained with L1 only) for the same number of steps on the same batches:
RaGAN, RaGP, and RaGP with the FFT loss. Training: photographs of scikit-image, bicubic x4. Held out: Set14 (GT/ and
LRx4/ under SET14). All computed numbers are reported; none is selected.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.models import build_model
from basicsr.utils.matlab_functions import imresize
from measuring import conditions
from torch import Tensor

from metaf2n_arch.images.arrays import to_tensor, to_uint8
from metaf2n_arch.images.reading import read_image
from metaf2n_arch.models.evaluation import Evaluator
from metaf2n_arch.utils.rng import numpy_generator

SCALE = 4
L1 = {'type': 'L1Loss', 'loss_weight': 1.0}
ARMS: dict[str, list[dict[str, Any]]] = {
    'L1 + RaGAN': [L1, {'type': 'RelativisticGANLoss', 'kind': 'RaGAN', 'loss_weight': 5e-3}],
    'L1 + RaGP': [L1, {'type': 'RelativisticGANLoss', 'kind': 'RaGP', 'loss_weight': 5e-3}],
    'L1 + RaGP + FFT': [
        L1,
        {'type': 'RelativisticGANLoss', 'kind': 'RaGP', 'loss_weight': 5e-3},
        {'type': 'FFTLoss', 'loss_weight': 0.3},
    ],
}
METRICS = {
    'PSNR': {'type': 'calculate_psnr_y', 'crop_border': SCALE},
    'SSIM': {'type': 'calculate_ssim_y', 'crop_border': SCALE},
    'spectrum': {'type': 'PowerSpectrumDiscrepancy'},
    'scaled spectrum': {'type': 'PowerSpectrumDiscrepancy', 'scale': 'log'},
}
UNITS = {
    'PSNR': 'dB, luma',
    'SSIM': 'luma',
    'spectrum': 'discrepancy, decades²',
    'scaled spectrum': 'discrepancy of log-moduli in [0, 1]',
}


def photographs() -> list[np.ndarray]:
    """The colour photographs that come with scikit-image, (H, W, 3) uint8 RGB."""
    from skimage import data

    left, right, _ = data.stereo_motorcycle()
    return [data.astronaut(), data.chelsea(), data.coffee(), data.rocket(), left, right]


def batches(photos: list[np.ndarray], seed: int, steps: int, batch: int, side: int) -> Iterator[dict[str, Tensor]]:
    """Random crops and their bicubic x4 reductions, the same for every arm of a seed."""
    pairs = [
        (p, imresize(p[: len(p) // SCALE * SCALE, : p.shape[1] // SCALE * SCALE] / 255.0, 1 / SCALE)) for p in photos
    ]
    rng = numpy_generator(seed, 7)
    for _ in range(steps):
        gts, lqs = [], []
        for _ in range(batch):
            photo, small = pairs[rng.integers(len(pairs))]
            y, x = (int(rng.integers(size - side // SCALE + 1)) for size in small.shape[:2])
            gts.append(to_tensor(photo[y * SCALE : y * SCALE + side, x * SCALE : x * SCALE + side]))
            lqs.append(to_tensor(small[y : y + side // SCALE, x : x + side // SCALE].astype(np.float32)))
        yield {'gt': torch.stack(gts), 'lq': torch.stack(lqs)}


def model(losses: list[dict[str, Any]], rate: float, folder: str) -> Any:
    """A small GANSRModel."""
    return build_model(
        {
            'name': 'study', 'model_type': 'GANSRModel', 'scale': SCALE, 'num_gpu': 0, 'dist': False, 'rank': 0,
            'world_size': 1, 'is_train': True, 'manual_seed': 0, 'path': {'models': folder},
            'network_g': {'type': 'SRVGGNetCompact', 'num_feat': 32, 'num_conv': 8, 'upscale': SCALE},
            'network_d': {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 16},
            'logger': {'print_freq': 100},
            'train': {
                'total_iter': 1, 'losses': losses,
                'optim_g': {'type': 'Adam', 'lr': rate, 'betas': [0.9, 0.99]},
                'optim_d': {'type': 'Adam', 'lr': rate, 'betas': [0.9, 0.99]},
                'scheduler': {'type': 'MultiStepLR', 'milestones': [10**9]},
            },
        }
    )  # fmt: skip


def train(trained: Any, data: Iterator[dict[str, Tensor]]) -> Any:
    """Trains one step per batch."""
    for step, batch in enumerate(data, 1):
        trained.feed_data(batch)
        trained.optimize_parameters(step)
    return trained


def evaluate(trained: Any, set14: Path) -> dict[str, float]:
    """The metrics on Set14."""
    evaluator = Evaluator(METRICS)
    for gt in sorted((set14 / 'GT').glob('*.png')):
        trained.feed_data({'lq': to_tensor(read_image(set14 / 'LRx4' / gt.name))[None]})
        trained.test()
        result, reference = to_uint8(trained.output), read_image(gt)
        height, width = (n // SCALE * SCALE for n in reference.shape[:2])
        evaluator.add(gt.stem, 'result', result[:height, :width, ::-1], reference[:height, :width, ::-1])
    return evaluator.finish()['result']


def run(args: argparse.Namespace, folder: str) -> tuple[dict[str, list[dict[str, float]]], float]:
    """All arms and seeds; returns arm -> one dictionary of metrics per seed, and the minutes it took."""
    start, photos = time.perf_counter(), photographs()
    results: dict[str, list[dict[str, float]]] = {'L1 alone (the start)': [], **{arm: [] for arm in ARMS}}
    for seed in range(args.seeds):
        torch.manual_seed(seed)
        first = train(model([L1], 1e-3, folder), batches(photos, seed, args.pretrain, args.batch, args.side))
        results['L1 alone (the start)'].append(evaluate(first, args.set14))
        for arm, losses in ARMS.items():
            torch.manual_seed(1000 + seed)
            continued = model(losses, 2e-4, folder)
            continued.net_g.load_state_dict(first.net_g.state_dict())
            train(continued, batches(photos, 1000 + seed, args.steps, args.batch, args.side))
            results[arm].append(evaluate(continued, args.set14))
            print(seed, arm, results[arm][-1], f'{time.perf_counter() - start:.0f} s', flush=True)
    return results, (time.perf_counter() - start) / 60


def table(results: dict[str, list[dict[str, float]]]) -> str:
    """Mean and standard deviation over the seeds, and each seed's value."""
    head = ['arm', *(f'{name} ({UNITS[name]})' for name in METRICS)]
    lines = [head, ['---'] * len(head)]
    for arm, seeds in results.items():
        cells = []
        for name in METRICS:
            values = [seed[name] for seed in seeds]
            digits = 2 if name == 'PSNR' else 4
            each = ', '.join(f'{v:.{digits}f}' for v in values)
            cells.append(f'{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f} ({each})')
        lines.append([arm, *cells])
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--set14', type=Path, required=True, help='folder with GT/ and LRx4/')
    parser.add_argument('--output', type=Path, help='Markdown file whose table is rewritten')
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--pretrain', type=int, default=400)
    parser.add_argument('--steps', type=int, default=300)
    parser.add_argument('--batch', type=int, default=4)
    parser.add_argument('--side', type=int, default=96)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results, minutes = run(args, folder)
    setting = (
        f'{args.seeds} seeds, {args.pretrain} steps of L1, then {args.steps} steps per arm, batch {args.batch} of '
        f'{args.side}², {conditions()}, {minutes:.0f} minutes.'
    )
    text = f'{table(results)}\n\n{setting}\n'
    print(text)
    if args.output:
        args.output.write_text(replaced(args.output, text), encoding='utf-8')


def replaced(file: Path, text: str) -> str:
    """The content of the file with its table and the setting below replaced by `text`; `text` if there is no file."""
    if not file.is_file():
        return text
    before = file.read_text(encoding='utf-8')
    after, found = re.subn(r'^\| arm \|.*?minutes\.\n', lambda _: text, before, flags=re.MULTILINE | re.DOTALL)
    return after if found == 1 else f'{before}\n{text}'


if __name__ == '__main__':
    main()
