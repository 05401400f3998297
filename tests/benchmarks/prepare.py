"""Preparation of data: speed and memory of its commands on many images of 512².

    python tests/benchmarks/prepare.py [--images 1000] [--jobs 2]

The images are cropped, resized and rotated photographs of scikit-image. Memory is the peak resident set of the command
and of its largest worker. Wall-clock seconds depend on other work on the machine; processor seconds, summed over all
processes, hardly do.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from measuring import conditions, resident

from metaf2n_arch.images.writing import write_image

COMMANDS = {
    'multiscale': ['multiscale', '{source}', '{out}'],
    'crops (256², stride 128)': ['crops', '{source}', '{out}', '--size', '256', '--stride', '128'],
    'masks': ['masks', '{source}', '{out}'],
    'degrade, iid': ['degrade', '{source}', '{out}'],
    'lmdb': ['lmdb', '{source}', '{out}.lmdb'],
    'meta-info --decode': ['meta-info', '{source}', '{out}-decoded.txt', '--decode'],
}
RUN = (
    'import resource, sys; from metaf2n_arch.cli.main import app\n'
    'try: app(sys.argv[1:])\n'
    'except SystemExit as end: code = end.code\n'
    'used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]\n'
    'print(sum(u.ru_utime + u.ru_stime for u in used))\n'
    'sys.exit(code)'
)


def make_images(folder: Path, count: int) -> None:
    """Writes `count` different images of 512²."""
    from skimage import data

    photos = [data.astronaut(), data.coffee(), data.stereo_motorcycle()[0], data.rocket(), data.chelsea()]
    rng = np.random.default_rng(0)
    folder.mkdir()
    import cv2

    for i in range(count):
        photo = photos[i % len(photos)]
        side = int(rng.integers(256, min(photo.shape[:2]) + 1))
        y, x = (int(rng.integers(length - side + 1)) for length in photo.shape[:2])
        cut = cv2.resize(photo[y : y + side, x : x + side], (512, 512), interpolation=cv2.INTER_CUBIC)
        write_image(folder / f'{i:04d}.png', np.rot90(cut, int(rng.integers(4))))


def peaks(process: int) -> Iterator[tuple[int, float]]:
    """Process ids and peak resident sets in MB of a process and of its descendants that are running."""
    try:
        yield process, resident('VmHWM', process)
        children = Path(f'/proc/{process}/task/{process}/children').read_text().split()
    except (OSError, KeyError):
        return
    for child in children:
        yield from peaks(int(child))


def measure(arguments: list[str]) -> tuple[float, float, str, str]:
    """Returns wall-clock and processor seconds, memory in MB, and the first line that the command printed."""
    start = time.perf_counter()
    most: dict[int, float] = {}
    # Not `ru_maxrss`, which begins with the memory of the process that started the command: this one, with torch.
    command = [sys.executable, '-c', RUN, 'prepare', *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            most |= dict(peaks(process.pid))
            time.sleep(0.05)
        output, errors = process.communicate()
    if process.returncode:
        raise SystemExit(errors)
    own, *workers = most.pop(process.pid), *most.values()
    lines = output.strip().splitlines()
    memory = f'{own:.0f}' + (f' + {max(workers):.0f}' if workers else '')
    return time.perf_counter() - start, float(lines[-1]), memory, lines[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--images', type=int, default=1000)
    parser.add_argument('--jobs', type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / 'source'
        make_images(source, options.images)
        print(f'{conditions()}, {options.jobs} processes\n')
        head = 'command', 'seconds', 'processor seconds', 'images per processor second', 'run again', 'MB', 'printed'
        print('| ' + ' | '.join(head) + ' |')
        print('| ' + ' | '.join(['---'] * len(head)) + ' |')
        for number, (name, template) in enumerate(COMMANDS.items()):
            out = Path(scratch) / f'out{number}'
            arguments = [part.format(source=source, out=out) for part in template] + ['--jobs', str(options.jobs)]
            seconds, busy, memory, printed = measure(arguments)
            again = measure(arguments)[0]
            rate = f'{options.images / busy:.1f}'
            print(
                f'| {name} | {seconds:.0f} | {busy:.0f} | {rate} | {again:.0f} s | {memory} | {printed} |', flush=True
            )


if __name__ == '__main__':
    main()
