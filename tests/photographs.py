"""A small data set of photographs for validation."""

from __future__ import annotations

import torch
from torch.utils.data import Dataset


class Photographs(Dataset):
    """Two windows of a photograph (1, 3, H, W), and each at a quarter of its size."""

    def __init__(self, photo: torch.Tensor) -> None:
        self.photo = photo
        self.opt = {'name': 'pairs'}

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int):
        gt = self.photo[0, :, 64 * index : 64 * index + 64, 160:224]
        return {'lq': gt[:, ::4, ::4], 'gt': gt, 'lq_path': f'image{index}.png'}
