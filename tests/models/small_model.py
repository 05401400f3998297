"""A small MetaF2N model: its options as the stock runner would hand them over, and a photo to restore."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

SCALE = 4


def options(folder: Path, **changes: Any) -> dict[str, Any]:
    """A small training of one task, as the stock runner would hand it over."""
    base = {
        'name': 'small',
        'model_type': 'MetaF2NModel',
        'scale': SCALE,
        'num_gpu': 0,
        'manual_seed': 0,
        'dist': False,
        'rank': 0,
        'world_size': 1,
        'is_train': True,
        'network_g': {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 2, 'upscale': SCALE, 'act_type': 'prelu'},
        'network_m': {'type': 'MaskNet', 'num_feat': 8, 'num_conv': 3, 'bias_last': 1.0},
        'network_d': {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 8},
        'path': {'models': str(folder), 'training_states': str(folder), 'visualization': str(folder)},
        'meta': {'inner_lr': 0.05},
        'logger': {'print_freq': 1},
        'train': {
            'total_iter': 10,
            'optim_g': {'type': 'SGD', 'lr': 0.1},
            'optim_d': {'type': 'SGD', 'lr': 0.1},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [100]},
            'losses': [
                {'type': 'L1Loss', 'target': 'gt'},
                {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1},
                {'type': 'MaskRegularizerLoss', 'loss_weight': 0.02},
            ],
        },
    }
    return {**base, **changes}


def photo(astronaut_tensor: torch.Tensor, with_face: bool) -> dict[str, Any]:
    gt = astronaut_tensor[:, :, :128, 128:256]
    lq = F.interpolate(gt, scale_factor=0.25, mode='area')
    item = {'lq': lq, 'gt': gt, 'lq_path': ['astronaut.png'], 'face_lq': [], 'face_hq': []}
    if with_face:
        item['face_lq'], item['face_hq'] = [lq[:, :, 12:32, 10:30]], [gt[:, :, 48:128, 40:120]]
    return item
