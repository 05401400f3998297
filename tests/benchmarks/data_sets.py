"""Images per processor second of `DegradationDataset` and of BasicSR's `RealESRGANDataset`, in turns, in one process.

    python tests/benchmarks/data_sets.py [--images 40] [--rounds 5]

Both read the same pictures of 512², PNG and JPEG, cut from scikit-image's photographs, and give a patch with everything
that is drawn for its degradation. RealESRGANDataset's patch is always 400², of which its model takes `gt_size` later;
ours is measured at 256² and at 400². `decode alone` reads and decodes with Pillow, and does nothing else: no data set
that uses this decoder can be faster.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from basicsr.data.realesrgan_dataset import RealESRGANDataset
from measuring import conditions, spread
from PIL import Image
from skimage import data

from metaf2n_arch.data.degradation_dataset import DegradationDataset

# The degradation of options/train_realesrgan_x4plus.yml of Real-ESRGAN, without its sizes.
KERNELS = {
    'kernel_list': ['iso', 'aniso', 'generalized_iso', 'generalized_aniso', 'plateau_iso', 'plateau_aniso'],
    'kernel_prob': [0.45, 0.25, 0.12, 0.03, 0.12, 0.03],
    'sinc_prob': 0.1,
    'blur_sigma': [0.2, 3],
    'betag_range': [0.5, 4],
    'betap_range': [1, 2],
}
STOCK = {'use_hflip': True, 'use_rot': False, 'blur_kernel_size': 21, 'final_sinc_prob': 0.8, **KERNELS}
STOCK |= {f'{key}2': value for key, value in KERNELS.items()} | {'blur_kernel_size2': 21, 'blur_sigma2': [0.2, 1.5]}


def write_pictures(folder: Path, count: int, suffix: str) -> None:
    rng = np.random.default_rng(0)
    photos = [data.astronaut(), data.chelsea(), data.coffee()]
    for number in range(count):
        photo = Image.fromarray(photos[number % 3]).resize((640, 640))
        y, x = rng.integers(128, size=2)
        photo.crop((x, y, x + 512, y + 512)).save(
            folder / f'{number:03}.{suffix}', **({'quality': 95} if suffix == 'jpg' else {})
        )


def seconds(read: Callable[[int], object], count: int) -> float:
    """Processor seconds of reading each image once."""
    start = time.process_time()
    for index in range(count):
        read(index)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=int, default=40)
    parser.add_argument('--rounds', type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print('# Images per processor second of data sets\n')
    print(
        f'`python tests/benchmarks/data_sets.py --images {options.images} --rounds {options.rounds}`; {conditions()};'
    )
    print('the median (least to most) of rounds in turns.\n')
    print('| file | ours, 256² | ours, 400² | RealESRGANDataset | decode alone | ratio, 256² | ratio, 400² |')
    print('|---' * 7 + '|')
    for suffix in ('png', 'jpg'):
        with tempfile.TemporaryDirectory() as folder:
            write_pictures(Path(folder), options.images, suffix)
            paths = sorted(Path(folder).iterdir())
            block = {'phase': 'train', 'name': 'x', 'dataroot_gt': folder, 'io_backend': {'type': 'disk'}}
            ours = {**block, 'type': 'DegradationDataset', 'scale': 4, 'degradation': {}}
            listing = Path(folder, 'list.txt')
            listing.write_text('\n'.join(path.name for path in paths))
            stock = RealESRGANDataset({**block, **STOCK, 'meta_info': str(listing), 'gt_size': 256})
            reads: dict[str, Callable[[int], object]] = {
                '256': DegradationDataset({**ours, 'gt_size': 256}).__getitem__,
                '400': DegradationDataset({**ours, 'gt_size': 400}).__getitem__,
                'stock': stock.__getitem__,
                'decode': lambda index, paths=paths: np.array(Image.open(io.BytesIO(paths[index].read_bytes()))),
            }
            rates: dict[str, list[float]] = {name: [] for name in reads}
            for turn in range(options.rounds + 1):
                for name, read in reads.items():
                    spent = seconds(read, options.images)
                    if turn:
                        rates[name].append(options.images / spent)
            row = [spread(values, 0) for values in rates.values()]
            row += [f'{np.median(rates[side]) / np.median(rates["stock"]):.2f}' for side in ('256', '400')]
            print(f'| {suffix} | ' + ' | '.join(row) + ' |', flush=True)


if __name__ == '__main__':
    main()
