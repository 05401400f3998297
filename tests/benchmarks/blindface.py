"""Blind-face recipe, a small run: trained on some faces, measured on crops of others, compared with bicubic.

    python tests/benchmarks/blindface.py FACES OUT [--iterations 300]

FACES is a folder of aligned faces of 1024²; the last by name is held out. Data, option file, experiment and
`values.json` are written to OUT. One thread, no GPU.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import yaml

from metaf2n_arch.utils.resources import option_file

HELD_OUT = 1


def metaf2n(*arguments: object) -> None:
    code = 'from metaf2n_arch.cli.main import main; main()'
    subprocess.run([sys.executable, '-c', code, *map(str, arguments)], check=True)


def prepare(faces: Path, out: Path) -> None:
    """Writes `train_scales/` (faces of 768², 512², 341²) and `val/GT`, `val/LQ` (crops of 256² of others, degraded)."""
    names = sorted(faces.glob('*.png'))
    for part, files in (('train', names[:-HELD_OUT]), ('val', names[-HELD_OUT:])):
        (out / f'{part}_1024').mkdir(parents=True)
        for file in files:
            shutil.copyfile(file, out / f'{part}_1024' / file.name)
        metaf2n('prepare', 'multiscale', out / f'{part}_1024', out / f'{part}_scales', '--shortest', 0)
    (out / 'val_512').mkdir()
    for file in (out / 'val_scales').glob('*T1.png'):
        shutil.copyfile(file, out / 'val_512' / file.name)
    metaf2n('prepare', 'crops', out / 'val_512', out / 'val_crops', '--size', 256, '--stride', 128, '--min-energy=-inf')
    metaf2n('prepare', 'degrade', out / 'val_crops', out / 'val', '--seed', 1)


def small_options(out: Path, iterations: int) -> Path:
    """Writes the recipe with a smaller network, fewer iterations and a larger learning rate."""
    options = yaml.safe_load(option_file('train_blindface_msrresnet').read_text(encoding='utf-8'))
    options['name'] = 'blindface_small'
    options['num_gpu'] = 0
    options['network_g'] |= {'num_feat': 32, 'num_block': 4}
    options['datasets']['train'] |= {
        'dataroot_gt': str(out / 'train_scales'), 'gt_size': 96, 'batch_size_per_gpu': 8, 'num_worker_per_gpu': 0,
        'dataset_enlarge_ratio': 400,  # the loader drops an incomplete last batch, which would be the whole epoch
    }  # fmt: skip
    options['datasets']['val'] |= {'dataroot_gt': str(out / 'val/GT'), 'dataroot_lq': str(out / 'val/LQ')}
    options['train'] |= {'total_iter': iterations, 'ema_decay': 0.99}
    options['train']['optim_g']['lr'] = 5e-4
    options['train']['scheduler'] |= {'periods': [iterations // 2] * 2}
    options['val'] |= {'val_freq': iterations // 3, 'save_img': True}
    options['logger'] = {'print_freq': 20, 'save_checkpoint_freq': iterations, 'use_tb_logger': False}
    file = out / 'blindface_small.yml'
    file.write_text(yaml.safe_dump(options, sort_keys=False), encoding='utf-8')
    return file


def bicubic(out: Path) -> None:
    """Enlarges the LQ images of the validation set with BasicSR's `imresize`, which is like MATLAB's."""
    from basicsr.utils.matlab_functions import imresize

    (out / 'bicubic').mkdir()
    for path in sorted((out / 'val' / 'LQ').iterdir()):
        large = imresize(cv2.imread(str(path)).astype(np.float32) / 255, 4)
        cv2.imwrite(str(out / 'bicubic' / path.name), (np.clip(large, 0, 1) * 255).round().astype(np.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('faces', type=Path)
    parser.add_argument('out', type=Path)
    parser.add_argument('--iterations', type=int, default=300)
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    prepare(arguments.faces, out)
    file = small_options(out, arguments.iterations)
    environment = {'OMP_NUM_THREADS': '1', **os.environ}
    command = [sys.executable, '-m', 'basicsr.train', '-opt', str(file)]
    subprocess.run(command, cwd=out, env=environment, check=True)
    bicubic(out)
    (out / 'restored').mkdir()
    for folder in (out / 'experiments' / 'blindface_small' / 'visualization').iterdir():
        newest = max(folder.glob('*.png'), key=lambda path: int(path.stem.rsplit('_', 1)[1]))
        shutil.copyfile(newest, out / 'restored' / f'{folder.name}.png')
    metrics = 'psnr_rgb,psnr,ssim'
    results = [out / 'bicubic', out / 'restored', out / 'val' / 'GT']
    metaf2n('evaluate', *results, '--metrics', metrics, '--crop-border', 0, '--json', out / 'values.json')


if __name__ == '__main__':
    main()
