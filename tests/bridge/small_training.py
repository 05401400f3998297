"""A MetaF2N training of seconds, run by the stock runner in a process of its own.

The processes are forked from one that has imported everything, so that a test can afford many of them.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml

SCALE = 4
ITERATIONS = 10


def write_photos(folder: Path, photo: np.ndarray) -> None:
    """Writes faces of 64², naturals of 48², and three validation photos of 64² of which two have a face."""
    for name, side, places in (
        ('faces', 64, [(60, 170), (70, 185), (80, 200)]),
        ('naturals', 48, [(300, 60 + 40 * i) for i in range(7)]),
        ('val/GT', 64, [(64 * i, 64 * i) for i in range(3)]),
    ):
        (folder / name).mkdir(parents=True)
        for i, (y, x) in enumerate(places):
            crop = np.ascontiguousarray(photo[y : y + side, x : x + side, ::-1])
            cv2.imwrite(str(folder / name / f'{i}.png'), crop)
    for name in ('LQ', 'Face_LQ', 'Face_HQ'):
        (folder / 'val' / name).mkdir()
    for i in range(3):
        gt = cv2.imread(str(folder / 'val' / 'GT' / f'{i}.png'))
        cv2.imwrite(str(folder / 'val' / 'LQ' / f'{i}.png'), cv2.resize(gt, (16, 16), interpolation=cv2.INTER_AREA))
        if i < 2:
            face = np.ascontiguousarray(gt[8:56, 8:56])
            cv2.imwrite(str(folder / 'val' / 'Face_HQ' / f'{i}_0.png'), face)
            small = cv2.resize(face, (12, 12), interpolation=cv2.INTER_AREA)
            cv2.imwrite(str(folder / 'val' / 'Face_LQ' / f'{i}_0.png'), small)


def options(photos: Path) -> dict[str, Any]:
    """Epochs of three iterations (seven tasks, two at a time, the seventh dropped), saved every other iteration."""
    return {
        'name': 'small',
        'model_type': 'MetaF2NModel',
        'scale': SCALE,
        'num_gpu': 0,
        'manual_seed': 7,
        'datasets': {
            'train': {
                'name': 'tasks',
                'type': 'MetaF2NDataset',
                'dataroot_face': str(photos / 'faces'),
                'dataroot_gt': str(photos / 'naturals'),
                'num_faces': 2,
                'num_naturals': 2,
                'face_size': 64,
                'support_size': 32,
                'query_size': 32,
                'batch_size_per_gpu': 2,
                'num_worker_per_gpu': 0,
                'degradation': {},
            },
            'val': {'name': 'photos', 'type': 'FacePairDataset', 'dataroot': str(photos / 'val')},
        },
        'network_g': {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 2, 'upscale': SCALE, 'act_type': 'prelu'},
        'network_m': {'type': 'MaskNet', 'num_feat': 8, 'num_conv': 3, 'bias_last': 1.0},
        'network_d': {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4},
        'path': {'pretrain_network_g': None, 'strict_load_g': True, 'resume_state': None},
        'meta': {'inner_lr': 0.05},
        'face': {'patches': 2, 'patch_size': 32},
        'train': {
            'total_iter': ITERATIONS,
            'ema_decay': 0.5,
            'optim_g': {'type': 'Adam', 'lr': 1e-2},
            'optim_d': {'type': 'Adam', 'lr': 1e-2},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [5], 'gamma': 0.5},
            'losses': [
                {'type': 'L1Loss', 'target': 'gt'},
                {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1},
                {'type': 'MaskRegularizerLoss', 'loss_weight': 0.02},
            ],
        },
        'val': {
            'val_freq': 4,
            'save_img': False,
            'metrics': {
                'psnr': {'type': 'calculate_psnr', 'crop_border': 4, 'test_y_channel': False},
            },
        },
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 2, 'use_tb_logger': False},
    }


def _train(
    folder: Path, arguments: tuple[str, ...], log: Path, environment: dict[str, str], prepare: Callable[[], None] | None
) -> None:
    """What `python -m basicsr.train <arguments>` does in `folder`, after `prepare`."""
    os.chdir(folder)
    os.environ.update(environment)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    torch.set_num_threads(1)
    # Of its own accord this process would start data-loader workers as it was started itself, importing everything.
    multiprocessing.set_start_method('fork', force=True)
    sys.argv = ['train.py', *arguments]
    import basicsr
    from basicsr.train import train_pipeline

    if prepare is not None:
        prepare()
    try:
        train_pipeline(str(Path(basicsr.__file__).parents[1]))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


class Training:
    """One process of the stock runner in `folder`, with what it has said so far."""

    def __init__(
        self,
        folder: Path,
        opt: dict[str, Any],
        *arguments: str,
        prepare: Callable[[], None] | None = None,
        **environment: str,
    ) -> None:
        folder.mkdir(exist_ok=True)
        # At once, because the other process may be reading it.
        (folder / 'new.yml').write_text(yaml.safe_dump(opt), encoding='utf-8')
        (folder / 'new.yml').replace(folder / 'small.yml')
        self.folder = folder
        self.log = folder / f'said_{len(list(folder.glob("said_*")))}.txt'
        self.log.touch()
        context = multiprocessing.get_context('forkserver')
        context.set_forkserver_preload(['basicsr.train', 'metaf2n_arch.models.metaf2n_model'])
        command = ('-opt', 'small.yml', *arguments)
        asked = {'METAF2N_BRIDGE': 'all' if opt['model_type'] == 'SRModel' else ''}
        self.process = context.Process(
            target=_train, args=(folder, command, self.log, {**asked, **environment}, prepare)
        )
        self.process.start()

    @property
    def said(self) -> str:
        return self.log.read_text()

    def wait(self, timeout: float = 120) -> int:
        """Waits for the end; returns the exit code, which is minus the signal's number for a killed process."""
        self.process.join(timeout)
        assert self.process.exitcode is not None, f'still running:\n{self.said[-2000:]}'
        return self.process.exitcode

    def finish(self) -> Training:
        """Waits for a good end."""
        code = self.wait()
        assert code == 0, f'exit code {code}:\n{self.said[-3000:]}'
        return self

    @property
    def experiment(self) -> Path:
        return self.folder / 'experiments' / 'small'

    def networks(self, iteration: int | str = 'latest') -> dict[str, Any]:
        """Every tensor of every network saved at `iteration`, by file, key and name."""
        tensors = {}
        for label in 'gdm':
            content = torch.load(self.experiment / 'models' / f'net_{label}_{iteration}.pth', weights_only=True)
            weights = {key: state for key, state in content.items() if key.startswith('params')}
            tensors.update({(label, key, name): t for key, state in weights.items() for name, t in state.items()})
        return tensors

    def state(self, iteration: int) -> dict[str, Any]:
        return torch.load(self.experiment / 'training_states' / f'{iteration}.state', weights_only=False)


def train_in_two_processes(folder: Path, opt: dict[str, Any], *arguments: str) -> list[Training]:
    """What torchrun does, for two processes on one machine."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    group = {'WORLD_SIZE': '2', 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': port}
    command = ('--launcher', 'pytorch', *arguments)
    return [Training(folder, opt, *command, RANK=rank, LOCAL_RANK=rank, **group) for rank in '01']


def assert_bitwise_equal(found: dict[Any, torch.Tensor], expected: dict[Any, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    different = [key for key in expected if not torch.equal(found[key], expected[key])]
    assert not different, f'{len(different)} of {len(expected)} tensors differ: {different[:4]}'
