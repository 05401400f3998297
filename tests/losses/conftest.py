"""Made-up weights files, in the places where the published ones would be looked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch's download folder, empty, in a temporary place."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    folder = tmp_path / 'hub' / 'checkpoints'
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def photos(astronaut_tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Two blurred crops of the astronaut and their originals, (2, 3, 65, 72) each."""
    sharp = torch.cat([astronaut_tensor[..., 0:65, 180:252], astronaut_tensor[..., 100:165, 200:272]])
    return torch.nn.functional.avg_pool2d(sharp, 3, 1, 1), sharp
