"""Self-similarity loss on a GPU (part of self_similarity.py): ours, box filters, unfold, the authors' CUDA operator.

All run in one process, in turn, forward and backward. Time is wall-clock time, with the device synchronised before and
after. Memory is the peak of the allocator minus the memory before.

The floor is a lower bound for any program: operations only for the pairs of shifts, and bytes only of the images and
the gradient. Operations:

    positions · (images · (3 C - 1 + 4) + gradients · (4 + 4 C))  +  entries · (images · 4 + 4 + gradients · 6)

positions = B (H + 2 pad)(W + 2 pad)(K² - 1)/2, entries = M K². At a position: C differences, C squares, C - 1 sums; a
box filter by running sums is 2 operations an axis; the gradient adds v · (I[x] - I[x + δ]) to two places for each
channel. At an entry: scale, exp, sum, normalise (exp counts as one); the comparison 4; the derivative 6. Both rates are
measured in the same run: operations by a float32 matrix product without TF32 (a multiply-add is two), bytes by a copy.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from self_similarity_problem import (
    CASES,
    H,
    K,
    Loss,
    P,
    authors_distances,
    build_authors_operator,
    crops,
    loss_by,
    unfolded,
)
from torch import Tensor

from metaf2n_arch.functional.self_similarity.box import box_loss
from metaf2n_arch.functional.self_similarity.criterion import criterion_weights
from metaf2n_arch.functional.self_similarity.dispatch import fastest_path
from metaf2n_arch.functional.self_similarity.geometry import Geometry


class Run(NamedTuple):
    """Loss and gradient of one program on a batch, and its best and median time in seconds and its memory."""

    loss: Tensor
    gradient: Tensor
    best: float = 0.0
    median: float = 0.0
    megabytes: float = 0.0


class Floor(NamedTuple):
    operations: int
    bytes: int


def floor(batch: int, channels: int, height: int, width: int, masked: int, pad: int) -> Floor:
    """Least number of operations and bytes for the loss and the gradient of pred, see above."""
    positions = batch * (height + 2 * pad) * (width + 2 * pad) * (K * K // 2)
    images, gradients = 2, 1
    operations = positions * (images * (3 * channels + 3) + gradients * (4 + 4 * channels))
    operations += masked * K * K * (images * 4 + 4 + gradients * 6)
    return Floor(operations, (images + gradients) * batch * channels * height * width * 4)


def rates(device: torch.device, side: int = 8192) -> tuple[float, float]:
    """Float32 operations and bytes per second of this device, measured."""
    square = torch.randn(side, side, device=device)
    long = torch.empty(16 * side * side, device=device)
    product = min(_seconds(lambda: square @ square, device, 10))
    copy = min(_seconds(lambda: long[: len(long) // 2].copy_(long[len(long) // 2 :]), device, 10))
    return 2 * side**3 / product, long.numel() * 4 / copy


def _synchronize(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def _seconds(step: Callable[[], Any], device: torch.device, repetitions: int) -> list[float]:
    """Times of `repetitions` runs in seconds, after one run of warm-up, which compiles."""
    seconds = []
    for _ in range(repetitions + 1):
        _synchronize(device)
        start = time.perf_counter()
        step()
        _synchronize(device)
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


def measure(loss: Loss, images: tuple[Tensor, Tensor, Tensor], repetitions: int) -> Run | None:
    """Runs forward and backward; None if the device has not enough memory."""
    pred, target, mask = images[0].detach().requires_grad_(), images[1], images[2]
    cuda = pred.device.type == 'cuda'
    runs: list[Run] = []

    def step() -> None:
        value = loss(pred, target, mask)
        runs[:] = [Run(value.detach(), *torch.autograd.grad(value, pred))]

    try:
        if cuda:
            step()
            torch.cuda.reset_peak_memory_stats(pred.device)
        before = torch.cuda.memory_allocated(pred.device) if cuda else 0
        seconds = _seconds(step, pred.device, repetitions)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return None
    peak = torch.cuda.max_memory_allocated(pred.device) if cuda else 0
    return Run(*runs[0][:2], min(seconds), statistics.median(seconds), (peak - before) / 2**20)


def programs(criterion: str, operator: Any, device: str) -> dict[str, tuple[str, Loss, int]]:
    """Name of a program -> its kind of border, its loss, number of repetitions."""
    weights = criterion_weights(criterion, 1.0)

    def fast(border: str, function: Callable[..., Tensor]) -> Loss:
        geometry = Geometry(K, P, border)
        return lambda pred, target, mask: function(pred, target, mask[:, 0], geometry, H, weights)

    ours = fastest_path(device).loss
    found = {
        'ours': ('window', fast('window', ours), 20),
        'box filters': ('window', fast('window', box_loss), 2),
        'unfold': ('window', loss_by(unfolded, criterion), 2),
        'ours, image': ('image', fast('image', ours), 20),
    }
    if operator is not None:
        found["authors' operator"] = ('window', loss_by(authors_distances(operator), criterion), 5)
    return found


def report(device: torch.device, authors: Path | None, cases: dict[str, tuple[int, int, int, str]] = CASES) -> None:
    """Prints the tables; exits with 1 if two programs disagree or two runs differ."""
    operator = None if authors is None else build_authors_operator(authors)
    operations, bandwidth = rates(device, 8192 if device.type == 'cuda' else 256)
    wrong: list[str] = []
    print(f'float32 {operations / 1e12:.1f} TFLOP/s, copies {bandwidth / 1e12:.2f} TB/s, both measured.\n')
    print('| case | program | best ms | median ms | MB | ours is faster | floor / median | same bits twice |')
    print('|---|---|---|---|---|---|---|---|')
    for case, (count, side, stride, criterion) in cases.items():
        on_cpu = crops(count, side, stride)
        images = tuple(x.to(device) for x in on_cpu)
        oracles: dict[str, Run] = {}
        ours: Run | None = None
        for name, (border, loss, repetitions) in programs(criterion, operator, device.type).items():
            run, again = (measure(loss, images, n) for n in (repetitions, 1))
            if run is None or again is None:
                print(f'| {case} | {name} | out of memory | | | | | |', flush=True)
                continue
            ours = run if name == 'ours' else ours
            same = torch.equal(run.loss, again.loss) and torch.equal(run.gradient, again.gradient)
            if border not in oracles:
                cpu = programs(criterion, None, 'cpu')['ours' if border == 'window' else 'ours, image'][1]
                oracles[border] = measure(cpu, on_cpu, 1)
            wrong += [f'{case}, {name}: {x}' for x in _differences(run, oracles[border])]
            if name.startswith('ours') and not same:
                wrong.append(f'{case}, {name}: two runs differ in their bits')
            pad = Geometry(K, P, border).pad
            least = floor(count, 3, side, side, int(on_cpu[2].sum()), pad)
            fraction = max(least.operations / operations, least.bytes / bandwidth) / run.median
            print(
                f'| {case} | {name} | {1e3 * run.best:.3f} | {1e3 * run.median:.3f} | {run.megabytes:.1f} | '
                f'{run.median / ours.median if ours else float("nan"):.1f}× | {100 * fraction:.1f} % | '
                f'{"yes" if same else "no"} |',
                flush=True,
            )
    print(
        f'\nEvery program agrees with the CPU kernels to 1e-4 (loss) and 1e-3 (gradient): {"no" if wrong else "yes"}.'
    )
    if wrong:
        sys.exit('\n'.join(wrong))


def _differences(run: Run, oracle: Run) -> list[str]:
    """Differences from the CPU kernels that are too large for rounding errors, in words."""
    value, gradient = oracle.loss.item(), oracle.gradient
    off = (run.gradient.cpu() - gradient).norm() / gradient.norm()
    found = [] if abs(run.loss.item() / value - 1) < 1e-4 else [f'loss {run.loss.item()}, CPU {value}']
    return found if off < 1e-3 else [*found, f'gradient off by {off.item():.1e} of its norm']
