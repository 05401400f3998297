"""Training steps of this package beside BasicSR's own, taking turns in one process; data sets: see `data_sets.py`.

    python tests/benchmarks/beside_basicsr.py --rounds 7 --output tests/benchmarks/results/beside_basicsr.md

A step: MSRResNet (64 features, 16 blocks), VGGStyleDiscriminator (64 features), two pairs of 32² and 128² pixels, Adam,
an average of the weights; the same losses on both sides. `difference` is that of the generator's weights after the
first step, relative to the step itself (2-norm): it shows that both sides do the same.

Processor seconds: median (least to most). One thread.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from statistics import median
from typing import Any

import torch
from basicsr.models import build_model
from measuring import conditions, spread
from meta_engine import photographs
from torch.nn import functional as F

VANILLA = {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 5e-3}
RELATIVISTIC = {'type': 'RelativisticGANLoss', 'kind': 'RaGAN', 'loss_weight': 2.5e-3}  # a sum, BasicSR's is a mean
L1 = {'type': 'L1Loss'}
STEPS: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    'SRModel': ({'pixel_opt': L1}, [L1]),
    'SRGANModel': ({'pixel_opt': L1, 'gan_opt': VANILLA}, [L1, VANILLA]),
    'ESRGANModel': ({'pixel_opt': L1, 'gan_opt': VANILLA}, [L1, RELATIVISTIC]),
}
"""Model of BasicSR -> its losses, and those of `GANSRModel` for the same step."""


def model(kind: str, losses: dict[str, Any], folder: str) -> Any:
    """A model with the same initial weights whatever its kind is."""
    torch.manual_seed(0)
    options = {
        'name': 'benchmark',
        'model_type': kind,
        'scale': 4,
        'num_gpu': 0,
        'dist': False,
        'rank': 0,
        'world_size': 1,
        'is_train': True,
        'network_g': {'type': 'MSRResNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 64, 'num_block': 16},
        'network_d': {'type': 'VGGStyleDiscriminator', 'num_in_ch': 3, 'num_feat': 64},
        'path': {'models': folder, 'training_states': folder, 'visualization': folder},
        'logger': {'print_freq': 100},
        'train': {
            'total_iter': 1000,
            'ema_decay': 0.999,
            'optim_g': {'type': 'Adam', 'lr': 1e-4},
            'optim_d': {'type': 'Adam', 'lr': 1e-4},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [500]},
            **losses,
        },
    }
    built = build_model(deepcopy(options))
    for net, seed in ((built.net_g, 1), (getattr(built, 'net_d', None), 2)):
        torch.manual_seed(seed)  # networks are built in another order
        for module in net.modules() if net is not None else ():
            if hasattr(module, 'reset_parameters'):
                module.reset_parameters()
    if hasattr(built, 'net_g_ema'):
        built.net_g_ema.load_state_dict(built.net_g.state_dict())
    return built


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def compared(of_host: list[float], of_ours: list[float], digits: int) -> str:
    """Cells: ours, BasicSR's, and the ratio of the medians."""
    ratio = median(of_ours) / median(of_host)
    return f'{spread(of_ours, digits)} | {spread(of_host, digits)} | {ratio:.2f}'


def step(trained: Any, number: int) -> None:
    gt = photographs(128)[:2].contiguous()
    trained.feed_data({'gt': gt, 'lq': F.interpolate(gt, scale_factor=0.25, mode='area')})
    trained.optimize_parameters(number)


def weights(trained: Any) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trained.net_g.parameters()])


def row_of_steps(kind: str, rounds: int, folder: str) -> str:
    of_host, of_ours = STEPS[kind]
    pair = model(kind, of_host, folder), model('GANSRModel', {'losses': of_ours}, folder)
    before = weights(pair[0])
    for trained in pair:
        step(trained, 1)
    moved = weights(pair[0]) - before
    difference = float((weights(pair[1]) - weights(pair[0])).norm() / moved.norm())
    found: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        for trained, times in zip(pair, found):
            times.append(seconds(lambda trained=trained, number=number: step(trained, number + 2)))
    return f'| step of GANSRModel, s | {kind} | {compared(*found, 2)} | {difference:.0e} |'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--output', type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = [conditions(), '', '| what | beside | ours | BasicSR | ratio | difference |', '|---' * 6 + '|']
    with tempfile.TemporaryDirectory() as folder:
        for kind in STEPS:
            lines.append(row_of_steps(kind, arguments.rounds, folder))
            print(lines[-1], flush=True)
    text = '\n'.join(lines) + '\n'
    print(text)
    if arguments.output:
        arguments.output.write_text(text, encoding='utf-8')


if __name__ == '__main__':
    main()
