"""Restoring photos: time of adaptation relative to restoration, and time of a folder of photos outside the networks.

    python tests/benchmarks/restore.py --weights RealESRGAN_x4plus.pth

Numbers are processor seconds of one thread, which vary much less on a shared machine than wall-clock time; the variants
are measured in turn. The face box is fixed. Without --weights the generator has random weights, which rarely gain by a
step, so that all step sizes are tried and refused: the most that a photo costs.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.archs.srvgg_arch import SRVGGNetCompact
from measuring import conditions, spread
from skimage import data
from torch import Tensor

from metaf2n_arch.archs.gpen_arch import GPEN
from metaf2n_arch.archs.mask_net_arch import MaskNet
from metaf2n_arch.faces.detector import Detector, DetectorOptions, Face
from metaf2n_arch.faces.detectors import build_detector
from metaf2n_arch.faces.restorer import NetworkRestorer, Restorer
from metaf2n_arch.faces.restorers import build_restorer
from metaf2n_arch.images.arrays import to_tensor
from metaf2n_arch.images.photo import Photo
from metaf2n_arch.images.writing import write_photo
from metaf2n_arch.inference import MetaF2N, RestoreOptions
from metaf2n_arch.photos.jobs import collect
from metaf2n_arch.photos.restoring import restore_photos
from metaf2n_arch.weights.loading import Generator, load_generator


class Searching(Detector):
    """A detector that runs a real search for its time, but returns one fixed face."""

    def __init__(self, inner: Detector, box: tuple[float, float, float, float]) -> None:
        super().__init__(DetectorOptions(type='cascade'))
        self.inner, self.box = inner, box

    def _search(self, image: np.ndarray) -> list[Face]:
        self.inner._search(image)
        return [Face(self.box, None, 1.0)]


def generator(kind: str) -> Generator:
    if Path(kind).is_file():
        return load_generator(kind)
    torch.manual_seed(0)
    net = RRDBNet(3, 3) if kind == 'RRDBNet 64/23' else SRVGGNetCompact(num_conv=16)
    return Generator(net.requires_grad_(False).eval(), 4)


def restorer(kind: str) -> Restorer:
    sizes = {'GPEN-BFR-256': (256, 1, 0.5), 'GPEN-BFR-512': (512, 2, 1.0)}
    torch.manual_seed(0)
    return NetworkRestorer(GPEN(*sizes[kind]), sizes[kind][0]) if kind in sizes else build_restorer(kind)


def build(kind: str, box: tuple[float, float, float, float], restores: str = 'identity') -> MetaF2N:
    mask = MaskNet(bias_last=1.0).requires_grad_(False).eval()
    detector = Searching(build_detector('cascade'), box)
    return MetaF2N(generator(kind), mask, detector, restorer(restores), torch.device('cpu'), RestoreOptions())


def in_turns(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """The times of each call in processor seconds; the calls are measured in turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.process_time()
            call()
            seconds = time.process_time() - start
            times[name].append(seconds)
            print(f'{name}: {seconds:.2f} s', flush=True)
    return times


def one_photo(side: int, repeats: int, weights: str) -> list[str]:
    """Table of the time of adaptation and restoration, relative to restoration alone."""
    photo = np.ascontiguousarray(data.astronaut()[:256, 100:356])[:side, :side]
    box = (72.0, 60.0, 180.0, 200.0)
    kinds = ('identity', 'GPEN-BFR-256', 'GPEN-BFR-512')
    every = {kind: build(weights, box, kind) for kind in kinds}
    sr = every['identity']
    faces = sr.find_faces(photo)
    x = to_tensor(photo)[None]
    calls: dict[str, Callable[[], object]] = {
        'restoration alone': lambda: list(sr.networks.strips(None, x, sr.options))
    }
    for kind, whole in every.items():
        calls[f'all: `sr(photo)`, restorer {kind}'] = lambda whole=whole: whole(photo)
    for kind, whole in every.items():
        calls[f'of these: finding, aligning, restoring the face, {kind}'] = lambda whole=whole: whole.find_faces(photo)
    calls['of these: inner loop with MaskNet, and the gain'] = lambda: sr.adapt(faces)
    times = in_turns(calls, repeats)
    alone = statistics.median(times['restoration alone'])
    rows = [f'| {name} | {spread(s, 2)} | {statistics.median(s) / alone:.3f} |' for name, s in times.items()]
    name = Path(weights).name if Path(weights).is_file() else weights
    head = f'One {side}² photo with one face, {name}, one step on 16 patches, MaskNet 64/8:'
    return [head, '', '| | s | in restorations |', '|---|---|---|', *rows]


def folder(count: int) -> list[str]:
    """Sentence on the share of processor time of a folder of photos that is not spent in networks."""
    sr = build('SRVGGNetCompact 64/16', (20.0, 10.0, 90.0, 100.0))
    inside = 0.0

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            nonlocal inside
            start = time.thread_time()
            try:
                return call(*arguments, **options)
            finally:
                inside += time.thread_time() - start

        return run

    def timed_strips(*arguments: Any, **options: Any) -> Iterator[Tensor]:
        strips = restored(*arguments, **options)
        step = timed(lambda: next(strips, None))
        while (strip := step()) is not None:
            yield strip

    restored = sr.networks.strips
    object.__setattr__(sr.networks, 'strips', timed_strips)
    for owner, name in ((sr, 'adapt'), (sr.networks, 'probe'), (sr.detector, '_search'), (sr.restorer, 'restore')):
        object.__setattr__(owner, name, timed(getattr(owner, name)))
    with tempfile.TemporaryDirectory() as place:
        for number in range(count):
            window = data.astronaut()[20 : 20 + 128, 130 + number : 130 + number + 160]
            write_photo(Path(place) / 'in' / f'{number}.png', Photo(np.ascontiguousarray(window)))
        jobs = collect([Path(place) / 'in'], Path(place) / 'out')
        list(restore_photos(sr, jobs[:1]))
        inside, start = 0.0, time.process_time()
        list(restore_photos(sr, jobs))
        total = time.process_time() - start
    share = 1 - inside / total
    return [
        f'A folder of {count} photos of 160 x 128 with one face each, SRVGGNetCompact 64/16 (27 times smaller than '
        f'RRDBNet), PNG to PNG: {total:.2f} s, of these {100 * share:.1f} % outside the networks '
        f'({1000 * (total - inside) / count:.0f} ms a photo: reading, warping faces, converting, writing).',
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--weights', default='RRDBNet 64/23', metavar='FILE')
    parser.add_argument('--side', type=int, default=256)
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--photos', type=int, default=20)
    parser.add_argument('--output', type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    machine = conditions()
    many = folder(options.photos)
    print('\n'.join(many), flush=True)
    named = f' --weights {Path(options.weights).name}' if Path(options.weights).is_file() else ''
    command = f'python tests/benchmarks/restore.py{named} --side {options.side} --repeats {options.repeats}'
    lines = [
        '# Adapting and restoring photos',
        '',
        f'`{command}`, {machine}, float32; processor seconds, median (least to most) of repeats in turns.',
        '',
        *one_photo(options.side, options.repeats, options.weights),
        '',
        *many,
    ]
    text = '\n'.join(lines) + '\n'
    print(text)
    if options.output:
        options.output.write_text(text, encoding='utf-8')


if __name__ == '__main__':
    main()
