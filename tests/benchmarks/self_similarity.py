"""Time and memory of the self-similarity loss, against the unfold formulation.

    python tests/benchmarks/self_similarity.py            # everything, a few minutes; needs 10 GB for the baseline
    python tests/benchmarks/self_similarity.py --quick    # without the baseline

Every figure comes from a process of its own, which warms up on a 24 × 24 crop (kernels are compiled or loaded,
libraries paged in) and then runs forward and backward of one case. Time is the smallest and the median wall-clock time
of the repetitions. Additional memory is the growth of the process's peak resident set (ru_maxrss) over the one after
warm-up.
Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CASES = {
    # name: images, side, mask_stride, criterion
    'crop 96²': (1, 96, 1, 'l1'),
    'crop 96², kl+l1': (1, 96, 1, 'kl+l1'),
    'image 256²': (1, 256, 1, 'l1'),
    'batch 12 × 256², mask_stride 3, kl+l1': (12, 256, 3, 'kl+l1'),
}


def crops(count: int, side: int, stride: int):
    """Crops of the astronaut: for one image the crop whose edge density is nearest 0.3, else evenly spread ones."""
    import torch
    from skimage import data

    from metaf2n_arch.functional.edges import edge_mask

    photo = torch.from_numpy(data.astronaut().copy()).permute(2, 0, 1)[None].float() / 255
    if count == 1:
        density = torch.nn.functional.avg_pool2d(edge_mask(photo).float(), side, 1)[0, 0]
        nearest = int((density - 0.3).abs().argmin())
        corners = [(nearest // density.shape[1], nearest % density.shape[1])]
    else:
        corners = [(y, x) for y in range(0, 513 - side, 64) for x in range(0, 513 - side, 64)][:count]
    target = torch.cat([photo[..., y : y + side, x : x + side] for y, x in corners])
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    return (target + 0.05 * noise).clamp(0, 1), target, edge_mask(target, 20, stride)


def unfold_loss(pred, target, mask, criterion: str, border: str):
    """The baseline: unfold every masked pixel's search window, then every patch of every window."""
    import torch
    from torch.nn import functional as F

    if border != 'window':
        raise ValueError("the unfold formulation computes border='window' only")

    def graph(image):
        windows = F.unfold(F.pad(image, [12] * 4, mode='reflect'), 25)[0][:, mask.flatten()]
        windows = windows.view(3, 625, -1).permute(2, 0, 1).reshape(-1, 3, 25, 25)
        patches = F.unfold(windows, 9, padding=4)
        distance = (patches - patches[:, :, 312:313]).pow(2).sum(1) / 243
        s = torch.exp(-distance / 0.004)
        return s / (s.sum(1, keepdim=True) + 1e-10)

    x, y = graph(pred), graph(target)
    if criterion == 'l1':
        return (x - y).abs().mean()
    raise ValueError('the baseline is measured with l1')


def loss_of(path: str, criterion: str, border: str):
    """The loss by one path, as a function of pred, target and mask."""
    from metaf2n_arch.functional.self_similarity.box import box_loss
    from metaf2n_arch.functional.self_similarity.criterion import criterion_weights
    from metaf2n_arch.functional.self_similarity.dispatch import fastest_path
    from metaf2n_arch.functional.self_similarity.geometry import Geometry

    if path == 'unfold':
        return lambda pred, target, mask: unfold_loss(pred, target, mask, criterion, border)
    function = box_loss if path == 'box' else fastest_path('cpu').loss
    geometry, weights = Geometry(25, 9, border), criterion_weights(criterion, 1.0)
    return lambda pred, target, mask: function(pred, target, mask[:, 0], geometry, 0.004, weights)


def peak_megabytes() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def worker(path: str, case: str, border: str, repetitions: int, threads: int) -> None:
    """Measures one case and prints it as JSON."""
    import torch

    torch.set_num_threads(threads)
    count, side, stride, criterion = CASES[case]
    loss = loss_of(path, criterion, border)

    def run(pred, target, mask) -> float:
        pred.grad = None
        value = loss(pred, target, mask)
        value.backward()
        return value.item()

    pred, target, mask = crops(count, side, stride)
    # A crop in the middle of the first image has edges for the warm-up to work on.
    middle = slice(side // 2 - 12, side // 2 + 12)
    small = [x[:1, :, middle, middle].contiguous() for x in (pred, target, mask)]
    small[0].requires_grad_()
    run(*small)
    pred.requires_grad_()
    before, seconds, value = peak_megabytes(), [], 0.0
    for _ in range(repetitions):
        start = time.perf_counter()
        value = run(pred, target, mask)
        seconds.append(time.perf_counter() - start)
    result = {
        'pixels': int(mask.sum()),
        'density': mask.float().mean().item(),
        'loss': value,
        'gradient': pred.grad.norm().item(),
        'best': min(seconds),
        'median': statistics.median(seconds),
        'megabytes': peak_megabytes() - before,
    }
    print(json.dumps(result))


def measure(path: str, case: str, border: str, repetitions: int, threads: int) -> dict:
    """Runs `worker` in a process of its own."""
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': str(threads), 'METAF2N_BRIDGE': '0'}
    arguments = [path, case, border, str(repetitions), str(threads)]
    command = [sys.executable, __file__, '--worker', *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def busy_core(wanted: bool):
    """Keeps one core busy with another process, if `wanted`."""
    if not wanted:
        yield
        return
    burner = subprocess.Popen([sys.executable, '-c', 'while True: pass'])
    try:
        yield
    finally:
        burner.kill()
        burner.wait()


def against_the_baseline() -> None:
    print('| threads | other load | unfold s | MB | box s | MB | fused s (best / median) | MB | faster | less memory |')
    print('|---|---|---|---|---|---|---|---|---|---|')
    for threads, load in ((1, False), (2, False), (2, True)):
        with busy_core(load):
            # Fused first and last: what others do on the machine meanwhile changes.
            fused = [measure('fused', 'crop 96²', 'window', 20, threads)]
            unfold = measure('unfold', 'crop 96²', 'window', 1, threads)
            box = measure('box', 'crop 96²', 'window', 1, threads)
            fused.append(measure('fused', 'crop 96²', 'window', 20, threads))
        best = min(f['best'] for f in fused)
        median = statistics.mean(f['median'] for f in fused)
        memory = max(f['megabytes'] for f in fused)
        for name in ('loss', 'gradient'):
            if abs(fused[0][name] / unfold[name] - 1) > 1e-4:
                raise SystemExit(f'{name}: fused {fused[0][name]}, unfold {unfold[name]}: not the same computation')
        print(
            f'| {threads} | {"one core busy" if load else "none of ours"} | {unfold["best"]:.1f} | '
            f'{unfold["megabytes"]:.0f} | {box["best"]:.2f} | {box["megabytes"]:.0f} | {best:.4f} / {median:.4f} | '
            f'{memory:.1f} | {unfold["best"] / median:.0f}× | {unfold["megabytes"] / max(memory, 0.1):.0f}× |',
            flush=True,
        )
    print(f'\nM = {unfold["pixels"]}, density {unfold["density"]:.3f}; "faster" uses the median.\n')


def fused_alone() -> None:
    print("| case, border='image' unless said | M | threads | best s | median s | additional MB |")
    print('|---|---|---|---|---|---|')
    runs = [(case, 'image', threads) for case in CASES for threads in (1, 2)]
    runs.insert(2, ('crop 96²', 'window', 1))
    for case, border, threads in runs:
        r = measure('fused', case, border, 3 if CASES[case][0] > 1 else 9, threads)
        name = case if border == 'image' else f'{case}, window'
        print(
            f'| {name} | {r["pixels"]} | {threads} | {r["best"]:.4f} | {r["median"]:.4f} | {r["megabytes"]:.1f} |',
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--quick', action='store_true', help='leave the baseline out')
    parser.add_argument('--worker', nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        path, case, border, repetitions, threads = options.worker
        worker(path, case, border, int(repetitions), int(threads))
        return
    print(f'{os.cpu_count()} cores, load average at the start {os.getloadavg()[0]:.1f}\n')
    if not options.quick:
        against_the_baseline()
    fused_alone()


if __name__ == '__main__':
    main()
