"""Costs that are counted, not timed: patches that pass through the generator, and files that a data set opens."""

from __future__ import annotations

import subprocess
import sys
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from metaf2n_arch.faces.detector import Detector, DetectorOptions, Face
from metaf2n_arch.faces.restorers import build_restorer
from metaf2n_arch.inference import MetaF2N, RestoreOptions
from metaf2n_arch.meta.guarded import FRACTIONS, HELD_OUT, MOST_PATCHES
from metaf2n_arch.weights.loading import Generator

PATCH = 32  # of the restored photo


class Faces(Detector):
    """Finds `count` faces side by side."""

    def __init__(self, count: int) -> None:
        super().__init__(DetectorOptions(type='cascade', min_size=1))
        self.count = count

    def _search(self, image: np.ndarray) -> list[Face]:
        return [Face((24.0 * i, 8.0, 24.0 * i + 20, 30.0), None, 1.0) for i in range(self.count)]


class Counting(nn.Module):
    """An enlarging network that counts the pixels it is given, with and without gradient."""

    pixels: ClassVar[dict[bool, int]] = {}  # of the class: copies are made of a network

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Conv2d(3, 3, 3, padding=1)
        self.pixels.update({True: 0, False: 0})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with_gradient = torch.is_grad_enabled() and any(p.requires_grad for p in self.last.parameters())
        self.pixels[with_gradient] += x.shape[0] * x.shape[-2] * x.shape[-1]
        return F.interpolate(x + 0.01 * self.last(x), scale_factor=2)


def pixels_of(photo: np.ndarray, faces: int, **options) -> dict[bool, int]:
    net = Counting()
    restorer = build_restorer('identity')
    parsed = RestoreOptions(patch_size=PATCH, tile=0, **options)
    MetaF2N(Generator(net.eval(), 2), None, Faces(faces), restorer, torch.device('cpu'), parsed)(photo)
    return dict(net.pixels)


@pytest.fixture
def photo(astronaut) -> np.ndarray:
    return np.ascontiguousarray(astronaut[:120, :300])


def test_adapting_costs_the_same_whatever_the_number_of_faces(photo):
    one, two, many = (pixels_of(photo, faces) for faces in (1, 2, 12))
    patch = (PATCH // 2) ** 2
    assert one[True] == 16 * patch
    assert two[True] == many[True] == MOST_PATCHES * patch
    # Beside the photo: the held-out patches before and after each step, and the probes likewise.
    assert many[False] == one[False]
    assert many[False] - photo.shape[0] * photo.shape[1] <= (1 + len(FRACTIONS)) * (HELD_OUT * patch + 12 * 32**2)


def test_without_adaptation_the_photo_passes_once_and_nothing_else(photo):
    for options in ({'inner_steps': 0}, {'inner_lr': 0}):
        assert pixels_of(photo, 3, color_fix='none', **options) == {True: 0, False: photo.shape[0] * photo.shape[1]}


PROGRAM = """
import sys
from collections import Counter
folder, opened = sys.argv[1], Counter()
sys.addaudithook(lambda event, arguments: opened.update([str(arguments[0])]) if event == 'open' else None)
from metaf2n_arch.data.degradation_dataset import DegradationDataset
block = {'phase': 'train', 'name': 'x', 'type': 'DegradationDataset', 'scale': 4, 'gt_size': 32, 'degradation': {}}
data = DegradationDataset({**block, 'dataroot_gt': folder, 'io_backend': {'type': 'disk'}})
built = {file: count for file, count in opened.items() if file.startswith(folder)}
opened.clear()
data[0]
read = {file: count for file, count in opened.items() if file.startswith(folder)}
print(len(built), max(built.values()), len(read), max(read.values()))
"""


def test_a_data_set_opens_each_file_once_to_look_at_it_and_once_to_read_it(astronaut, tmp_path):
    for number in range(5):
        Image.fromarray(astronaut[:64, number * 40 : number * 40 + 64]).save(tmp_path / f'{number}.png')
    command = [sys.executable, '-c', PROGRAM, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ['5', '1', '1', '1']
