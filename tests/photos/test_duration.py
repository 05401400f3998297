"""Estimates of how long a restoration takes."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
import torch

from metaf2n_arch.images.writing import write_image
from metaf2n_arch.inference import MetaF2N, RestoreOptions
from metaf2n_arch.photos import duration
from metaf2n_arch.photos.jobs import collect
from metaf2n_arch.weights.loading import Generator


@pytest.fixture
def sr() -> MetaF2N:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 12, 3, padding=1), torch.nn.PixelShuffle(2)).requires_grad_(False)
    return MetaF2N(Generator(net, 2), None, None, None, torch.device('cpu'), RestoreOptions(inner_steps=0))


@pytest.fixture
def jobs(tmp_path):
    """Two photos of 60,000 pixels, and one that cannot be read."""
    for name in ('a.png', 'b.png'):
        write_image(tmp_path / 'in' / name, np.zeros((200, 300, 3), np.uint8))
    (tmp_path / 'in' / 'broken.png').write_bytes(b'no picture')
    return collect([tmp_path / 'in'], tmp_path / 'out')


def test_the_duration_is_that_of_a_patch_times_the_number_of_patches(sr, jobs, monkeypatch):
    """Oracle: a clock that says that 64 x 64 pixels take 8 seconds."""
    patch = itertools.count(0, 8)
    found = duration.estimate(sr, jobs, lambda: next(patch))
    assert found.seconds == pytest.approx(8 * 120_000 / 64**2)
    assert str(found) == (
        'about 4 minutes on this CPU for 0.12 megapixels (33 minutes per megapixel), and more for faces'
    )
    monkeypatch.setattr(duration, 'HEADERS', 1)  # the others are assumed to be alike
    assert duration.estimate(sr, jobs, lambda: next(patch)).pixels == 180_000


def test_what_takes_seconds_is_not_worth_a_word(sr, jobs, monkeypatch):
    assert duration.estimate(sr, jobs) is None  # so small a network is quick
    monkeypatch.setattr(duration, '_restore', lambda *_: pytest.fail('nothing is timed for small photos'))
    assert duration.estimate(sr, jobs[:0]) is None
    sr.device = torch.device('cuda')
    assert duration.estimate(sr, jobs) is None


@pytest.mark.slow
def test_a_real_generator_takes_as_long_as_was_said(data_dir, tmp_path, monkeypatch):
    """Within a factor of four, on any machine: that is what 'about' may mean under load."""
    sr = MetaF2N.load(data_dir / 'weights' / 'realesr-animevideov3.pth', inner_steps=0, device='cpu')
    photo = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    write_image(tmp_path / 'in' / 'a.png', photo)
    monkeypatch.setattr(duration, 'MENTIONED', 0.0)
    found = duration.estimate(sr, collect([tmp_path / 'in'], tmp_path / 'out'))
    begun = time.perf_counter()
    sr(photo)
    took = time.perf_counter() - begun
    assert found.seconds / 4 < took < 4 * found.seconds
