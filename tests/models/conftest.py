"""A batch of tasks for the small model of `small_model`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from small_model import SCALE
from torch.utils.data import default_collate

from metaf2n_arch.degradation import DegradationConfig


@pytest.fixture
def batch(astronaut_tensor: torch.Tensor) -> dict[str, Any]:
    """Two tasks of two faces and two naturals, cut from a photograph."""

    def window(y: int, x: int, side: int) -> torch.Tensor:
        return astronaut_tensor[0, :, y : y + side, x : x + side]

    def task(number: int) -> dict[str, Any]:
        draw = DegradationConfig(scale=SCALE).sample(np.random.default_rng(number))
        return {
            'face': torch.stack([window(60, 170, 64), window(80, 190 + number, 64)]),
            'face_crop': torch.tensor([[8, 4, 32, 32], [0, 32, 32, 32]]),
            'gt': torch.stack([window(300, 60 + 10 * number, 48), window(200, 300, 48)]),
            'degradation': draw.to_tensors(),
        }

    return default_collate([task(0), task(1)])
