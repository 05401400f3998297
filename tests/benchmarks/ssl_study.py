"""Self-similarity loss at several weights: a study of several arms and seeds, on photographs, on a CPU.

    python tests/benchmarks/ssl_study.py --benchmarks BENCHMARKS --output tests/benchmarks/results/ssl_study.md

All arms of a seed train the same small generator from the same start on the same batches. Training: photographs of
scikit-image, bicubic x4, patches of 96². Held out: Set5 and Set14 (GT/ and LRx4/ under BENCHMARKS/Set5 and Set14). The
last arm has the loss as `pixel_opt` of BasicSR without L1. All computed numbers are reported; none is selected.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.models import build_model
from frequency_study import METRICS as OF_FREQUENCIES
from frequency_study import SCALE, batches, photographs
from measuring import conditions
from torch import Tensor

from metaf2n_arch.images.arrays import to_tensor, to_uint8
from metaf2n_arch.images.reading import read_image
from metaf2n_arch.losses.gradient_shares import GradientShares
from metaf2n_arch.losses.terms import LossTerms
from metaf2n_arch.models.evaluation import Evaluator

L1 = {'type': 'L1Loss'}
MEAN = {'type': 'SSLLoss', 'loss_weight': 0.05}
NORM = {**MEAN, 'reduction': 'window'}
PAPER = {'type': 'SSLLoss', 'loss_weight': 1000, 'criterion': 'kl+l1', 'mask_stride': 3}
ARMS: dict[str, list[dict[str, Any]]] = {
    'L1': [L1],
    'L1 + SSL 0.05, mean': [L1, MEAN],
    'L1 + SSL 0.05, norm': [L1, NORM],
    "L1 + SSL 1000 (the paper's)": [L1, PAPER],
    'SSL 1000 in the place of L1': [PAPER],
}
METRICS = {name: OF_FREQUENCIES[name] for name in ('PSNR', 'SSIM')}
SIDE, BATCH = 96, 4


def model(losses: list[dict[str, Any]], steps: int, folder: str) -> Any:
    """A small GANSRModel without a discriminator."""
    return build_model(
        {
            'name': 'study', 'model_type': 'GANSRModel', 'scale': SCALE, 'num_gpu': 0, 'dist': False, 'rank': 0,
            'world_size': 1, 'is_train': True, 'manual_seed': 0, 'path': {'models': folder},
            'network_g': {'type': 'SRVGGNetCompact', 'num_feat': 24, 'num_conv': 4, 'upscale': SCALE},
            'logger': {'print_freq': 100},
            'train': {
                'total_iter': steps, 'losses': losses,
                'optim_g': {'type': 'Adam', 'lr': 2e-3, 'betas': [0.9, 0.99]},
                'scheduler': {'type': 'MultiStepLR', 'milestones': [steps * 2 // 3, steps * 5 // 6], 'gamma': 0.4},
            },
        }
    )  # fmt: skip


def ratio_to_l1(losses: list[dict[str, Any]], pred: Tensor, gt: Tensor) -> float:
    """‖∇ SSL‖ / ‖∇ L1‖ at an output, also if L1 is not a loss of the training."""
    ssl = [loss for loss in losses if loss['type'] == 'SSLLoss']
    if not ssl:
        return 0.0
    influence = GradientShares()
    LossTerms([L1, *ssl]).generator(pred.detach().requires_grad_(), {'gt': gt}, influence=influence)
    shares = influence.values()
    return (shares['share_ssl'] / shares['share_l1']).item()


def trained(losses: list[dict[str, Any]], data: list[dict[str, Tensor]], folder: str) -> tuple[Any, float]:
    """Trains one step per batch. Returns the model, and the mean of `ratio_to_l1` at ten steps of the second half."""
    net, ratios = model(losses, len(data), folder), []
    for step, batch in enumerate(data, 1):
        net.update_learning_rate(step)
        net.feed_data(batch)
        net.optimize_parameters(step)
        if step > len(data) // 2 and step % max(len(data) // 20, 1) == 0:
            with torch.no_grad():
                pred = net.net_g(net.lq)
            ratios.append(ratio_to_l1(losses, pred, net.gt))
    return net, statistics.mean(ratios)


def evaluate(net: Any, folder: Path) -> dict[str, float]:
    """The metrics on a folder with GT/ and LRx4/."""
    evaluator = Evaluator(METRICS)
    for gt in sorted((folder / 'GT').glob('*.png')):
        net.feed_data({'lq': to_tensor(read_image(folder / 'LRx4' / gt.name))[None]})
        net.test()
        result, reference = to_uint8(net.output), read_image(gt)
        height, width = (n // SCALE * SCALE for n in reference.shape[:2])
        evaluator.add(gt.stem, 'result', result[:height, :width, ::-1], reference[:height, :width, ::-1])
    return evaluator.finish()['result']


def run(args: argparse.Namespace, folder: str) -> dict[str, list[dict[str, float]]]:
    """Trains all arms and seeds. Returns arm -> one dictionary of numbers per seed."""
    found: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    photos = photographs()
    for seed in range(args.seeds):
        data = list(batches(photos, seed, args.steps, BATCH, SIDE))
        for arm, losses in ARMS.items():
            torch.manual_seed(seed)
            start = time.perf_counter()
            net, ratio = trained(losses, data, folder)
            row = {'ratio': ratio, 'seconds': time.perf_counter() - start}
            for name in ('Set5', 'Set14'):
                row.update({f'{name} {metric}': v for metric, v in evaluate(net, args.benchmarks / name).items()})
            found[arm].append(row)
            print(seed, arm, {k: round(v, 4) for k, v in row.items()}, flush=True)
    return found


def cell(values: list[float], digits: int) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f'{np.mean(values):.{digits}f} ± {spread:.{digits}f}'


def table(found: dict[str, list[dict[str, float]]]) -> str:
    """Markdown table: mean ± standard deviation over the seeds."""
    columns = [(f'{name} {metric}', 2 if metric == 'PSNR' else 4) for name in ('Set5', 'Set14') for metric in METRICS]
    lines = [
        '| losses | SSL gradient / L1 gradient | ' + ' | '.join(name for name, _ in columns) + ' | s |',
        '|---' * (len(columns) + 3) + '|',
    ]
    for arm, rows in found.items():
        ratio = np.mean([row['ratio'] for row in rows])
        cells = [cell([row[name] for row in rows], digits) for name, digits in columns]
        seconds = np.mean([row['seconds'] for row in rows])
        lines.append(f'| {arm} | {f"{ratio:.2g}" if ratio else "none"} | ' + ' | '.join(cells) + f' | {seconds:.0f} |')
    return '\n'.join(lines) + '\n'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--benchmarks', type=Path, required=True, help='folder of Set5/ and Set14/, each with GT/ and LRx4/'
    )
    parser.add_argument('--output', type=Path, required=True, help='Markdown file to write')
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--steps', type=int, default=400)
    args = parser.parse_args()
    torch.set_num_threads(1)
    machine = conditions()
    with tempfile.TemporaryDirectory() as folder:
        found = run(args, folder)
    args.output.write_text(
        '# The self-similarity loss at several weights\n\n'
        '`python tests/benchmarks/ssl_study.py --benchmarks BENCHMARKS --output FILE`: SRVGGNetCompact 24/4 from\n'
        f'scratch, {args.steps} steps of {BATCH} patches of {SIDE}², Adam 2e-3, {args.seeds} seeds; mean ± standard\n'
        f'deviation over the seeds. PSNR (dB) and SSIM on luma. {machine}.\n\n' + table(found),
        encoding='utf-8',
    )


if __name__ == '__main__':
    main()
