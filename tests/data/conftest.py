"""Small folders of real photographs: square faces and natural images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from metaf2n_arch.images.writing import write_image


@pytest.fixture(scope='session')
def photo_folders(tmp_path_factory) -> Path:
    """`faces/` (6 squares of 96², the astronaut's face among them) and `naturals/` (5 photographs)."""
    from skimage import data

    root = tmp_path_factory.mktemp('photos')
    (root / 'faces').mkdir()
    (root / 'naturals').mkdir()
    for i, (photo, y, x) in enumerate(
        [
            (data.astronaut(), 40, 176),
            (data.astronaut(), 30, 160),
            (data.chelsea(), 60, 120),
            (data.chelsea(), 40, 180),
            (data.coffee(), 60, 200),
            (data.rocket(), 100, 280),
        ]
    ):
        write_image(root / 'faces' / f'{i}.png', photo[y : y + 96, x : x + 96])
    for name in ('astronaut', 'coffee', 'chelsea', 'rocket'):
        write_image(root / 'naturals' / f'{name}.png', getattr(data, name)()[:240, :320])
    write_image(root / 'naturals' / 'odd.jpg', np.ascontiguousarray(data.coffee()[101:300, 50:301]))
    return root


@pytest.fixture
def task_options(photo_folders) -> dict:
    return {
        'name': 'tasks',
        'type': 'MetaF2NDataset',
        'phase': 'train',
        'scale': 4,
        'dataroot_face': str(photo_folders / 'faces'),
        'dataroot_gt': str(photo_folders / 'naturals'),
        'io_backend': {'type': 'disk'},
        'face_size': 96,
        'support_size': 48,
        'query_size': 64,
        'num_faces': 3,
        'num_naturals': 2,
        'seed': 7,
        'num_worker_per_gpu': 2,
        'batch_size_per_gpu': 1,
        'dataset_enlarge_ratio': 1,
        'prefetch_mode': None,
    }


def same(a, b) -> bool:
    """Whether two items or batches hold equal values."""
    import torch

    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.fixture(scope='session')
def same_items():
    return same
