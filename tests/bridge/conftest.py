"""A tiny stock training: pairs cut from a photograph, a small MSRResNet, a few iterations on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import small_training
import yaml

Run = Callable[..., subprocess.CompletedProcess[str]]


def write_pairs(folder: Path, photo: np.ndarray, count: int = 4) -> None:
    """Writes `count` pairs of 64² and 16² crops, cut along the photograph's diagonal."""
    for name in ('gt', 'lq'):
        (folder / name).mkdir(parents=True)
    for i in range(count):
        crop = photo[64 * i : 64 * i + 64, 64 * i : 64 * i + 64, ::-1]
        cv2.imwrite(str(folder / 'gt' / f'{i}.png'), crop)
        cv2.imwrite(str(folder / 'lq' / f'{i}.png'), cv2.resize(crop, (16, 16), interpolation=cv2.INTER_AREA))


@pytest.fixture
def tiny(tmp_path: Path, astronaut: np.ndarray) -> dict:
    """The options of a four-iteration stock training in `tmp_path`; written to `tiny.yml` by `write_options`."""
    write_pairs(tmp_path / 'pairs', astronaut)
    pairs = {
        'name': 'pairs',
        'type': 'PairedImageDataset',
        'dataroot_gt': str(tmp_path / 'pairs' / 'gt'),
        'dataroot_lq': str(tmp_path / 'pairs' / 'lq'),
        'io_backend': {'type': 'disk'},
    }
    loading = {'num_worker_per_gpu': 0, 'batch_size_per_gpu': 2, 'gt_size': 32, 'use_hflip': True, 'use_rot': True}
    return {
        'name': 'tiny',
        'model_type': 'SRModel',
        'scale': 4,
        'num_gpu': 0,
        'manual_seed': 3,
        'datasets': {'train': {**pairs, **loading}, 'val': {**pairs, 'name': 'val'}},
        'network_g': {'type': 'MSRResNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1},
        'path': {'pretrain_network_g': None, 'strict_load_g': True, 'resume_state': None},
        'train': {
            'ema_decay': 0.9,
            'optim_g': {'type': 'AdamW', 'lr': 1e-3},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [2], 'gamma': 0.5},
            'total_iter': 4,
            'pixel_opt': {'type': 'L1Loss'},
        },
        'val': {'val_freq': 100, 'save_img': True, 'suffix': None, 'metrics': {'psnr': dict(METRIC)}},
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 2, 'use_tb_logger': True},
    }


METRIC = {'type': 'calculate_psnr', 'crop_border': 4, 'test_y_channel': False}


@pytest.fixture
def write_options(tmp_path: Path) -> Callable[[dict], Path]:
    def write(options: dict, name: str = 'tiny.yml') -> Path:
        path = tmp_path / name
        path.write_text('# Grüße\n' + yaml.safe_dump(options), encoding='utf-8')
        return path

    return write


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs `python <arguments>` in `tmp_path`, on one thread, in a locale without UTF-8."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, 'OMP_NUM_THREADS': '1', 'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0'}
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=tmp_path, env={**env, **environment}, capture_output=True, text=True)

    return run


@pytest.fixture(autouse=True)
def every_run_is_ours(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stock models show the repairs, too; what happens to those who do not ask is shown in `test_strangers.py`."""
    from metaf2n_arch.bridge import circle

    monkeypatch.setenv(circle.SWITCH, 'all')
    circle.forget()
    yield
    circle.forget()


@pytest.fixture
def original() -> Callable[[str], object]:
    """What the host had before the bridge replaced it, by 'module.name'."""
    import basicsr  # noqa: F401 - applies the repairs

    from metaf2n_arch.bridge.patching import ORIGINALS

    return ORIGINALS.__getitem__


@pytest.fixture(scope='session')
def photos(tmp_path_factory: pytest.TempPathFactory, astronaut: np.ndarray) -> Path:
    """The pictures of `small_training`."""
    folder = tmp_path_factory.mktemp('photos')
    small_training.write_photos(folder, astronaut)
    return folder


@pytest.fixture(scope='session')
def finished(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> small_training.Training:
    """A small MetaF2N training that nothing disturbed; the oracle of those that something does."""
    return small_training.Training(tmp_path_factory.mktemp('finished'), small_training.options(photos)).finish()
