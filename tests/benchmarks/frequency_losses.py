"""Frequency losses: time relative to a training step of ESRGAN's generator, and to loops over radii.

    python tests/benchmarks/frequency_losses.py [--batch 16] [--side 128] [--sides 64 128 256 512] [--threads 1] \\
        [--device cpu] [--output FILE]

All parts of a ratio are measured in turn in one run, so that other work on the machine slows both. Times are medians,
with the least and the most in brackets.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from basicsr.archs.rrdbnet_arch import RRDBNet
from measuring import conditions, spread
from torch import Tensor

from metaf2n_arch.functional.frequency import spectral_distance
from metaf2n_arch.functional.spectrum import azimuthal_mean, power_spectrum
from metaf2n_arch.images.luminance import luminance
from metaf2n_arch.losses.dct_loss import DCTLoss
from metaf2n_arch.losses.fft_loss import FFTLoss
from metaf2n_arch.losses.focal_frequency_loss import FocalFrequencyLoss
from metaf2n_arch.losses.spectral_loss import SpectralLoss

LOSSES = {
    'FFTLoss': FFTLoss,
    'DCTLoss': DCTLoss,
    'SpectralLoss': SpectralLoss,
    'FocalFrequencyLoss': FocalFrequencyLoss,
}


def seconds(work: Callable[[], object], device: str) -> float:
    if device == 'cuda':
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device == 'cuda':
        torch.cuda.synchronize()
    return time.perf_counter() - start


def in_turns(works: dict[str, Callable[[], object]], device: str, turns: int) -> dict[str, list[float]]:
    """Times of each piece of work in seconds, measured in turn after one turn of warm-up."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(turns + 1):
        for name, work in works.items():
            spent = seconds(work, device)
            if turn:
                times[name].append(spent)
    return times


def mean_of_each_radius(power: Tensor) -> Tensor:
    """One masked mean for each radius of spectra (B, H, W) with frequency 0 in the middle: (B, K)."""
    height, width = power.shape[-2:]
    side = min(height, width)
    y = torch.arange(height, device=power.device).view(-1, 1) - height // 2
    x = torch.arange(width, device=power.device).view(1, -1) - width // 2
    radius = torch.hypot(y / height, x / width) * 2 * (side // 2)
    means = [power[:, (radius >= k - 0.5) & (radius < k + 0.5)].mean(1) for k in range(side // 2 + 1)]
    return torch.stack(means, 1)


def loop_over_radii(pred: Tensor, target: Tensor) -> Tensor:
    """The spectral loss by a loop over the radii, all images of the batch at once."""
    spectra = []
    for image in (pred, target):
        transform = torch.fft.fft2(luminance(image)[:, 0], norm='ortho')
        mean = mean_of_each_radius(torch.fft.fftshift(transform, dim=(-2, -1)).abs().square())
        spectra.append(mean / mean[:, :1])
    first, second = (s[:, 1:].clamp(1e-30, 1 - 1e-7) for s in spectra)
    return -(second * first.log() + (1 - second) * torch.log1p(-first)).mean()


def loop_over_images_and_radii(pred: Tensor, target: Tensor) -> Tensor:
    """The same for one image at a time, as in the program of the paper (which uses NumPy)."""
    return torch.stack([loop_over_radii(p[None], t[None]) for p, t in zip(pred, target)]).mean()


def plain_operations(pred: Tensor, target: Tensor) -> Tensor:
    """Ours without the gradient in closed form: autograd differentiates each operation."""
    spectra = []
    for image in (pred, target):
        mean = azimuthal_mean(power_spectrum(luminance(image)), *image.shape[-2:])
        spectra.append((mean / mean[..., :1])[..., 1:])
    first, second = (s.clamp(1e-30, 1 - 1e-7) for s in spectra)
    return -(second * first.log() + (1 - second) * torch.log1p(-first)).mean()


def with_backward(loss: Callable[[Tensor, Tensor], Tensor], pred: Tensor, target: Tensor) -> Callable[[], None]:
    def work() -> None:
        leaf = pred.detach().requires_grad_()
        loss(leaf, target).backward()

    return work


def measure(batch: int, side: int, device: str, turns: int) -> list[str]:
    torch.manual_seed(0)
    generator = RRDBNet(3, 3, scale=4, num_feat=64, num_block=23).to(device)
    optimizer = torch.optim.Adam(generator.parameters(), lr=1e-4)
    lq = torch.rand(batch, 3, side // 4, side // 4, device=device)
    target = torch.rand(batch, 3, side, side, device=device)
    pred = (target + 0.1 * torch.randn_like(target)).clamp(0, 1)

    def step() -> None:
        optimizer.zero_grad()
        (generator(lq) - target).abs().mean().backward()
        optimizer.step()

    works: dict[str, Callable[[], object]] = {'step': step}
    works.update({name: with_backward(cls(), pred, target) for name, cls in LOSSES.items()})
    times = in_turns(works, device, turns)
    spent = {name: statistics.median(values) for name, values in times.items()}
    together = sum(spent[name] for name in LOSSES)
    lines = [
        '| | seconds | share of the step |',
        '| --- | ---: | ---: |',
        f'| training step of RRDBNet (64 features, 23 blocks), L1, Adam | {spread(times["step"])} | 100 % |',
    ]
    lines += [f'| {name} | {spread(times[name], 4)} | {100 * spent[name] / spent["step"]:.2f} % |' for name in LOSSES]
    lines.append(f'| all four | {together:.4g} | **{100 * together / spent["step"]:.2f} %** |')

    return lines


VARIANTS = {
    'a loop over images and radii': loop_over_images_and_radii,
    'a loop over radii': loop_over_radii,
    'plain operations': plain_operations,
    'ours': SpectralLoss(),
}


def measure_spectral(batch: int, sides: list[int], device: str, turns: int) -> list[str]:
    lines = [f'| `SpectralLoss`, seconds | {" | ".join(VARIANTS)} |', '| --- |' + ' ---: |' * len(VARIANTS)]
    for side in sides:
        torch.manual_seed(0)
        target = torch.rand(batch, 3, side, side, device=device)
        pred = (target + 0.1 * torch.randn_like(target)).clamp(0, 1)
        ours = spectral_distance(luminance(pred), luminance(target)).mean()
        torch.testing.assert_close(ours, loop_over_radii(pred, target), rtol=1e-3, atol=1e-6)
        works = {name: with_backward(loss, pred, target) for name, loss in VARIANTS.items()}
        lines.append(row(f'{side}²', in_turns(works, device, turns)))
    return lines


def measure_integration(batch: int, sides: list[int], device: str, turns: int) -> list[str]:
    """Time of the mean over each ring only, of given spectra."""
    lines = ['| the integration alone, seconds | a loop over radii | ours |', '| --- | ---: | ---: |']
    for side in sides:
        whole = torch.rand(batch, side, side, device=device)
        half = torch.rand(batch, side, side // 2 + 1, device=device)
        works = {
            'a loop over radii': with_backward(lambda power, _: mean_of_each_radius(power).sum(), whole, whole),
            'ours': with_backward(lambda power, _, n=side: azimuthal_mean(power, n, n).sum(), half, half),
        }
        lines.append(row(f'{side}²', in_turns(works, device, turns)))
    return lines


def row(name: str, times: dict[str, list[float]]) -> str:
    """A row of the table: seconds of each variant, and the ratio of its median to ours."""
    ours = statistics.median(times['ours'])
    cells = [
        spread(values, 5) + (f', {statistics.median(values) / ours:.1f} times' if kind != 'ours' else '')
        for kind, values in times.items()
    ]
    return f'| {name} | {" | ".join(cells)} |'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--side', type=int, default=128, help='side of the HR images')
    parser.add_argument('--sides', type=int, nargs='*', default=[64, 128, 256, 512], help='for SpectralLoss alone')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--turns', type=int, default=3)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--output', type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    where = torch.cuda.get_device_name() if arguments.device == 'cuda' else f'CPU, {arguments.threads} thread(s)'
    sides = ' '.join(map(str, arguments.sides))
    command = (
        f'python tests/benchmarks/frequency_losses.py --batch {arguments.batch} --side {arguments.side} '
        f'--sides {sides} --threads {arguments.threads} --turns {arguments.turns} --device {arguments.device}'
    )
    head = [
        '# What the frequency losses cost',
        '',
        f'`{command}`',
        '',
        f'Batch {arguments.batch}, HR {arguments.side}x{arguments.side}, ×4, float32, forward and backward; {where}; '
        f'{conditions()}; median (least to most) of {arguments.turns} turns, '
        f'of {3 * arguments.turns} in the tables of the spectral loss.',
        '',
    ]
    lines = measure(arguments.batch, arguments.side, arguments.device, arguments.turns)
    for measured in (measure_spectral, measure_integration):
        lines += ['', *measured(arguments.batch, arguments.sides, arguments.device, 3 * arguments.turns)]
    text = '\n'.join(head + lines) + '\n'
    print(text)
    if arguments.output:
        arguments.output.write_text(text, encoding='utf-8')


if __name__ == '__main__':
    main()
