"""Self-similarity loss: time and memory, compared with the authors' own PyTorch path, which unfolds twice.

That path stores M·C·P²·K² numbers. To separate time from memory, it is also run in parts of 64 masked pixels.

    python tests/benchmarks/self_similarity.py            # everything, a few minutes; needs 10 GB for the baseline
    python tests/benchmarks/self_similarity.py --quick    # without the baseline
    python tests/benchmarks/self_similarity.py --device cuda --authors SSL/GAN-Based-SR/basicsr/losses/similarity

On CPUs each number is measured in a separate process, which warms up on a 24 × 24 crop (to compile or load kernels and
libraries) and then runs forward and backward of one case. Time is the smallest and the median wall-clock time of the
repetitions. Additional memory is the growth of the peak resident set (ru_maxrss) after the warm-up. For the
measurements on a GPU, where the authors' operator is built from their sources, see self_similarity_gpu.py. Prints
Markdown.
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

import torch
from measuring import conditions
from self_similarity_problem import CASES, H, K, Loss, P, crops, loss_by, unfolded, unfolded_in_parts

from metaf2n_arch.functional.self_similarity.box import box_loss
from metaf2n_arch.functional.self_similarity.criterion import criterion_weights
from metaf2n_arch.functional.self_similarity.dispatch import fastest_path
from metaf2n_arch.functional.self_similarity.geometry import Geometry

# The authors' own PyTorch path unfolds twice; "in parts" is the same program with less memory.
UNFOLD = {'unfold': unfolded, 'unfold in parts': unfolded_in_parts}
ROOT = Path(__file__).resolve().parents[2]


def loss_of(path: str, criterion: str, border: str) -> Loss:
    """The loss by one path, as a function of pred, target and mask."""
    if path in UNFOLD:
        return loss_by(UNFOLD[path], criterion)
    function = box_loss if path == 'box' else fastest_path('cpu').loss
    geometry, weights = Geometry(K, P, border), criterion_weights(criterion, 1.0)
    return lambda pred, target, mask: function(pred, target, mask[:, 0], geometry, H, weights)


def peak_megabytes() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def worker(path: str, case: str, border: str, repetitions: int, threads: int) -> None:
    """Measures one case and prints it as JSON."""
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
    """Runs `worker` in a separate process."""
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': str(threads), 'METAF2N_BRIDGE': '0'}
    arguments = [path, case, border, str(repetitions), str(threads)]
    command = [sys.executable, __file__, '--worker', *arguments]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
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
    slow = '| threads | other load | unfold s | MB | in parts s | MB | box s | MB '
    print(slow + '| fused s (best / median) | MB | faster | less memory | faster than in parts |')
    print('|---' * 13 + '|')
    for threads, load in ((1, False), (2, False), (2, True)):
        with busy_core(load):
            # Fused is measured first and last, because other work on the machine changes meanwhile.
            fused = [measure('fused', 'crop 96²', 'window', 20, threads)]
            unfold = measure('unfold', 'crop 96²', 'window', 1, threads)
            parts = measure('unfold in parts', 'crop 96²', 'window', 1, threads)
            box = measure('box', 'crop 96²', 'window', 1, threads)
            fused.append(measure('fused', 'crop 96²', 'window', 20, threads))
        best = min(f['best'] for f in fused)
        median = statistics.mean(f['median'] for f in fused)
        memory = max(f['megabytes'] for f in fused)
        for name in ('loss', 'gradient'):
            for other in (unfold, parts):
                if abs(fused[0][name] / other[name] - 1) > 1e-4:
                    raise SystemExit(f'{name}: fused {fused[0][name]}, unfold {other[name]}: not the same computation')
        row = [threads, 'one core busy' if load else 'none of ours']
        for slow in (unfold, parts, box):
            row += [f'{slow["best"]:.2f}', f'{slow["megabytes"]:.0f}']
        row += [f'{best:.4f} / {median:.4f}', f'{memory:.1f}', f'{unfold["best"] / median:.0f}×']
        row += [f'{unfold["megabytes"] / max(memory, 0.1):.0f}×', f'{parts["best"] / median:.0f}×']
        print('| ' + ' | '.join(map(str, row)) + ' |', flush=True)
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


def on_a_gpu(device: torch.device, authors: Path | None) -> None:
    if not torch.cuda.is_available():
        raise SystemExit('--device cuda: this machine has no CUDA device that torch can use.')
    import triton
    from self_similarity_gpu import report

    device = torch.device('cuda', device.index or 0)
    torch.cuda.set_device(device)
    print(f'{torch.cuda.get_device_name(device)}, triton {triton.__version__}; {conditions()}')
    report(device, authors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--quick', action='store_true', help='without the baseline (CPU)')
    parser.add_argument('--device', type=torch.device, default=torch.device('cpu'), help='cpu, cuda or cuda:<number>')
    parser.add_argument(
        '--authors', type=Path, metavar='FOLDER', help="folder with the authors' similarity.cu, to build (CUDA)"
    )
    parser.add_argument('--worker', nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        path, case, border, repetitions, threads = options.worker
        worker(path, case, border, int(repetitions), int(threads))
        return
    if options.device.type == 'cuda':
        on_a_gpu(options.device, options.authors)
        return
    if options.authors:
        parser.error("--authors needs --device cuda: the authors' operator runs on GPUs only")
    print(f'{conditions("1 and 2")}\n')
    if not options.quick:
        against_the_baseline()
    fused_alone()


if __name__ == '__main__':
    main()
