"""Costs that are counted, not timed: pixels through the generator, operations, large tensors, and files opened."""

from __future__ import annotations

import subprocess
import sys
from typing import ClassVar

import numpy as np
import pytest
import torch
from counting import Counted
from PIL import Image
from torch import nn
from torch.nn import functional as F

from metaf2n_arch.degradation import DegradationConfig, apply
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


def restorer_of_photos(net: nn.Module, faces: int, **options) -> MetaF2N:
    parsed = RestoreOptions(patch_size=PATCH, **options)
    return MetaF2N(
        Generator(net.eval(), 2), None, Faces(faces), build_restorer('identity'), torch.device('cpu'), parsed
    )


def pixels_of(photo: np.ndarray, faces: int, **options) -> dict[bool, int]:
    net = Counting()
    restorer_of_photos(net, faces, tile=0, **options)(photo)
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


def test_a_photo_costs_the_multiplications_of_one_pass_and_no_more(photo):
    restore = restorer_of_photos(Counting(), 0, tile=0, color_fix='none')
    with Counted() as costs:
        restore(photo)
    assert costs.flops == 2 * 3 * 3 * 9 * photo.shape[0] * photo.shape[1]


@pytest.mark.parametrize('color_fix', ['none', 'lowfreq'])
def test_no_tensor_of_half_the_result_is_made_beside_a_photo_in_tiles(astronaut, color_fix):
    photo = np.ascontiguousarray(astronaut[:400, :240])
    restore = restorer_of_photos(Counting(), 0, tile=80, overlap=8, color_fix=color_fix)
    with Counted(large=2 * 800 * 480 * 3) as costs:
        assert sum(len(strip) for strip in restore.open(photo).strips()) == 800
    assert costs.large == 0
    with Counted(large=2 * 800 * 480 * 3) as costs:
        restorer_of_photos(Counting(), 0, tile=0, color_fix='none')(photo)
    assert costs.large > 0


def test_each_filter_of_a_degradation_is_one_convolution_or_two_transforms(astronaut_tensor):
    for number in range(8):
        draw = DegradationConfig().sample(np.random.default_rng(number))
        kernels = [draw.stages[0].kernel, draw.stages[1].kernel, draw.sinc]
        with Counted() as costs:
            apply(astronaut_tensor[..., :96, :64], draw)
        done = costs.operations
        assert done['_fft_r2c'] == 2 * done['_fft_c2r']
        assert done['convolution'] + done['_fft_c2r'] == sum(float(kernel.max()) < 1 for kernel in kernels)


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
