"""Degradation of a meta-training task: time of ours and of BasicSR's own functions, in one run.

    python tests/benchmarks/degradation.py --output tests/benchmarks/results/degradation.md

Both degrade 4 faces of 256² and 4 natural images of 400² with the same draws. The reference calls the functions of
`RealESRNetModel.feed_data` (`filter2D`, `F.interpolate`, `random_add_*_noise_pt`, `DiffJPEG`) in the same order, with
one kernel per image: for a single kernel `filter2D` has a much slower branch, which is not used in training. Both are
measured in turn for each draw, in processor time, so that other work on the machine changes the ratio little.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from basicsr.data.degradations import random_add_gaussian_noise_pt, random_add_poisson_noise_pt
from basicsr.utils.diffjpeg import DiffJPEG
from basicsr.utils.img_process_util import filter2D
from measuring import conditions, spread
from torch import Tensor

from metaf2n_arch.degradation import DegradationConfig, DegradationParams, apply
from metaf2n_arch.degradation.apply import filter2d
from metaf2n_arch.degradation.jpeg import jpeg
from metaf2n_arch.degradation.kernels import gaussian, pad_kernel
from metaf2n_arch.degradation.params import SIDE
from metaf2n_arch.images.arrays import to_tensor


def photographs(side: int) -> Tensor:
    """Four crops of photographs that come with scikit-image, (4, 3, side, side)."""
    from skimage import data

    photos = [data.astronaut(), data.coffee(), data.astronaut()[::-1], data.coffee()[:, ::-1]]
    return torch.stack([to_tensor(photo[:side, 100 : 100 + side]) for photo in photos])


def blurred(images: Tensor, kernel: Tensor) -> Tensor:
    """BasicSR's filter as in its training: one kernel of 21 x 21 for each image of the batch."""
    return filter2D(images, kernel.expand(len(images), -1, -1))


def reference(images: Tensor, params: DegradationParams, host_jpeg: DiffJPEG) -> Tensor:
    """Applies a draw with BasicSR's functions."""
    final = params.output_size(*images.shape[-2:])
    first, second = params.stages

    def noisy(x: Tensor, stage) -> Tensor:
        gray = float(stage.noise.gray)
        if stage.noise.kind == 'gaussian':
            return random_add_gaussian_noise_pt(x, stage.noise.strength, gray_prob=gray, clip=True)
        return random_add_poisson_noise_pt(x, stage.noise.strength, gray_prob=gray, clip=True)

    def compressed(x: Tensor, quality: int) -> Tensor:
        return host_jpeg(x.clamp(0, 1), quality=x.new_full((len(x),), quality)).contiguous()

    x = blurred(images, first.kernel)
    x = noisy(F.interpolate(x, scale_factor=first.factor, mode=first.mode), first)
    x = blurred(compressed(x, first.quality), second.kernel)
    size = int(final[0] * second.factor), int(final[1] * second.factor)
    x = noisy(F.interpolate(x, size=size, mode=second.mode), second)
    if not params.jpeg_last:
        x = compressed(x, second.quality)
    x = blurred(F.interpolate(x, size=final, mode=params.final_mode), params.sinc)
    if params.jpeg_last:
        x = compressed(x, second.quality)
    return (x * 255).round().clamp(0, 255) / 255


def interleaved(calls: dict[str, Callable[[], object]], repeats: int = 5) -> dict[str, list[float]]:
    """Returns the processor time of each call in seconds, of each repeat; the calls are measured in turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.process_time()
            call()
            times[name].append(time.process_time() - start)
    return times


@torch.no_grad()
def measure(draws: int) -> dict[str, dict[str, list[float]]]:
    """Returns the seconds of both by what was measured: of each draw the least of three, of parts five repeats."""
    faces, naturals = photographs(256), photographs(400)
    host_jpeg = DiffJPEG(differentiable=False)
    rng = np.random.default_rng(0)
    config = DegradationConfig()
    task: dict[str, list[float]] = {'ours': [], 'theirs': []}
    for _ in range(draws):
        params = config.sample(rng)
        calls = {
            'ours': lambda p=params: [apply(faces, p), apply(naturals, p, 1)],
            'theirs': lambda p=params: [reference(faces, p, host_jpeg), reference(naturals, p, host_jpeg)],
        }
        for name, seconds in interleaved(calls, repeats=3).items():
            task[name].append(min(seconds))
    rows = {f'whole task, {draws} draws': task}
    for side in (7, 21):
        kernel = torch.from_numpy(pad_kernel(gaussian(side, side / 6), SIDE)).float()
        calls = {'ours': lambda k=kernel: filter2d(naturals, k), 'theirs': lambda k=kernel: blurred(naturals, k)}
        rows[f'{side}x{side} blur, 4 x 400²'] = interleaved(calls)
    quality = torch.full((4,), 60.0)
    calls = {'ours': lambda: jpeg(naturals, 60), 'theirs': lambda: host_jpeg(naturals, quality=quality)}
    rows['JPEG, 4 x 400²'] = interleaved(calls)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--draws', type=int, default=20)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--output', type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    command = f'python tests/benchmarks/degradation.py --draws {options.draws} --threads {options.threads}'
    lines = [
        '# Degrading a meta-training task: 4 faces of 256² and 4 naturals of 400², scale 4',
        '',
        f'`{command}`; {conditions()}; processor seconds in turns, the median (least to most) of draws or repeats.'
        ' "Ratio" is that of the sums.',
        '',
        '| | ours, s | BasicSR functions, s | ratio |',
        '|---|---|---|---|',
    ]
    for name, row in measure(options.draws).items():
        ours, theirs = row['ours'], row['theirs']
        lines.append(f'| {name} | {spread(ours)} | {spread(theirs)} | {sum(theirs) / sum(ours):.1f}x |')
    text = '\n'.join(lines) + '\n'
    print(text)
    if options.output:
        options.output.write_text(text, encoding='utf-8')


if __name__ == '__main__':
    main()
