"""Memory for one large photo, and for very many small ones: ``python tests/benchmarks/many_photos.py large|many [N]``.

`large`: a synthetic photo of N (24) megapixels through a small generator at x4, to PNG and to JPEG: seconds, and peak
memory minus that of the loaded program. `many`: N (100,000) photos of 8x8 pixels through nearest-neighbour upsampling:
seconds for listing and restoring, and memory after each tenth; then the same run again, in which all photos are done.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from basicsr.archs.srvgg_arch import SRVGGNetCompact
from measuring import conditions

from metaf2n_arch.faces.detector import Detector, DetectorOptions, Face
from metaf2n_arch.faces.restorer import IdentityRestorer
from metaf2n_arch.images.photo import Photo
from metaf2n_arch.images.writing import write_photo
from metaf2n_arch.inference import MetaF2N, RestoreOptions
from metaf2n_arch.photos.jobs import collect
from metaf2n_arch.photos.register import Register
from metaf2n_arch.photos.restoring import restore_photos
from metaf2n_arch.weights.loading import Generator


class NoFaces(Detector):
    """A detector that finds no face, in no time."""

    def __init__(self) -> None:
        super().__init__(DetectorOptions(type='cascade'))

    def detect(self, image: np.ndarray) -> list[Face]:
        return []


def restorer(net: torch.nn.Module, scale: int) -> MetaF2N:
    parts = NoFaces(), IdentityRestorer(), torch.device('cpu'), RestoreOptions()
    return MetaF2N(Generator(net.requires_grad_(False).eval(), scale), None, *parts)


def peak() -> float:
    """Peak memory in gigabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def resident() -> float:
    """Present memory in megabytes."""
    return int(Path('/proc/self/statm').read_text().split()[1]) * resource.getpagesize() / 2**20


def large(folder: Path, megapixels: float) -> None:
    height = round((megapixels * 1e6 / 1.5) ** 0.5)
    rows = np.arange(height)[:, None] + np.arange(height * 3 // 2)[None]
    pixels = np.stack([rows % 251, rows // 3 % 256, rows // 7 % 199], -1).astype(np.uint8)
    write_photo(folder / 'in' / 'a.png', Photo(pixels))
    del rows, pixels
    sr = restorer(SRVGGNetCompact(num_feat=8, num_conv=2, upscale=4), 4)
    for suffix in ('jpg', 'png'):
        before, start = resident() / 1024, time.monotonic()
        [outcome] = restore_photos(sr, collect([folder / 'in'], folder / suffix, suffix))
        print(f'{outcome}: {time.monotonic() - start:.0f} s, at most {peak() - before:.2f} GB more', flush=True)


def many(folder: Path, count: int) -> None:
    start = time.monotonic()
    first = folder / 'in' / '000' / '0.png'
    write_photo(first, Photo(np.zeros((8, 8, 3), np.uint8)))
    for number in range(1, count):
        place = folder / 'in' / f'{number // 1000:03}'
        place.mkdir(exist_ok=True)
        (place / f'{number}.png').write_bytes(first.read_bytes())
    print(f'{count} files made in {time.monotonic() - start:.0f} s')
    net = torch.nn.Upsample(scale_factor=2)
    for run in ('first', 'second'):
        start = time.monotonic()
        jobs = collect([folder / 'in'], folder / 'out')
        register = Register(folder / 'out', {})
        print(f'{run} run: listed in {time.monotonic() - start:.1f} s, {resident():.0f} MB', flush=True)
        start = time.monotonic()
        for number, _ in enumerate(restore_photos(restorer(net, 2), jobs, register=register), 1):
            if number % (count // 10) == 0:
                print(f'  {number}: {time.monotonic() - start:.0f} s, {resident():.0f} MB', flush=True)
        register.close()


if __name__ == '__main__':
    torch.set_num_threads(1)
    print(conditions())
    with tempfile.TemporaryDirectory() as place:
        if sys.argv[1] == 'large':
            large(Path(place), float(sys.argv[2]) if len(sys.argv) > 2 else 24)
        else:
            many(Path(place), int(sys.argv[2]) if len(sys.argv) > 2 else 100_000)
