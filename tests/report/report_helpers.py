"""A run as the runners leave it: log, metrics and pictures of two images, one of them named like the other."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from metaf2n_arch.images.writing import write_image

OPTIONS: dict[str, Any] = {
    'name': 'mine',
    'scale': 4,
    'datasets': {'test_1': {'name': 'FFHQ_iid', 'type': 'FacePairDataset', 'dataroot': 'datasets'}},
    'val': {'suffix': None, 'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 4, 'better': 'higher'}}},
}
LINE = (
    '2026-01-01 00:00:00,000 INFO: [mine..][epoch:  0, iter:     {}, lr:(1.000e-04,)] [eta: 0:00:01, '
    'time (data): 0.250 (0.001)] l_g_total: {:.4e} l_g_total_unadapted: {:.4e} l_inner: 3.0000e-02 l_g_l1: 1.0e-01 '
    'peak_memory_gb: 1.2500e+00 \n'
)
IMAGES = {'img_1': 23.0, 'img_1_2': 25.0}


def make_run(root: Path, name: str, shift: float = 0.0, dataset: str = 'FFHQ_iid') -> Path:
    """Writes experiments/<name>, results/<name> and their data under `root`; returns the experiment's folder.

    Values are 23 and 25 dB plus `shift` after adaptation, half a decibel less before.
    """
    from basicsr.utils.options import dict2str
    from skimage import data

    experiment, results = root / 'experiments' / name, root / 'results' / name
    experiment.mkdir(parents=True)
    options = {**OPTIONS, 'name': name}
    options['datasets'] = {'test_1': {**OPTIONS['datasets']['test_1'], 'name': dataset}}
    head = f'2026-01-01 00:00:00,000 INFO: {dict2str(options)}\n'
    (experiment / f'train_{name}_1.log').write_text(head + LINE.format(100, 0.5, 0.6) + LINE.format(200, 0.25, 0.4))
    os.utime(experiment / f'train_{name}_1.log', (1, 1))
    photo = data.astronaut()
    pictures = results / 'visualization' / dataset
    for folder in (root / 'datasets' / 'GT', root / 'datasets' / 'LQ', pictures / 'unadapted'):
        folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(IMAGES):
        gt = np.ascontiguousarray(photo[160 * i : 160 * i + 256, 100:400])
        write_image(root / 'datasets' / 'GT' / f'{image}.png', gt)
        write_image(root / 'datasets' / 'LQ' / f'{image}.png', np.ascontiguousarray(gt[::4, ::4]))
        enlarged = gt[::4, ::4].repeat(4, 0).repeat(4, 1)
        write_image(pictures / f'{image}_{name}.png', enlarged)
        write_image(pictures / 'unadapted' / f'{image}_{name}.png', enlarged // 2)
    (results / f'test_{name}_1.log').write_text(head)
    after = {image: value + shift for image, value in IMAGES.items()}
    before = {image: value - 0.5 for image, value in after.items()}
    missing = dict.fromkeys(IMAGES)
    content = {
        'dataset': dataset,
        'iteration': name,
        'mean': {'result': {'psnr': 24.0 + shift, 'lpips': None}, 'unadapted': {'psnr': 23.5 + shift, 'lpips': None}},
        'notes': {},
        'images': {'result': {'psnr': after, 'lpips': missing}, 'unadapted': {'psnr': before, 'lpips': missing}},
    }
    (results / f'metrics_{dataset}.json').write_text(json.dumps(content))
    return experiment
