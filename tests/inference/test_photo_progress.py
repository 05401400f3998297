"""Progress inside a photo: what a library's user is told, and what the command shows where it has no terminal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from metaf2n_arch import MetaF2N
from metaf2n_arch.cli.progress import PhotoBar
from metaf2n_arch.faces.detector import Detector, DetectorOptions, Face
from metaf2n_arch.faces.restorers import build_restorer
from metaf2n_arch.images.photo import Photo
from metaf2n_arch.images.writing import write_photo
from metaf2n_arch.inference import RestoreOptions
from metaf2n_arch.photos.jobs import collect
from metaf2n_arch.photos.restoring import restore_photos
from metaf2n_arch.weights.loading import Generator


class SixFaces(Detector):
    """Finds six faces beside one another."""

    def __init__(self) -> None:
        super().__init__(DetectorOptions(type='cascade', min_size=1))

    def _search(self, image: np.ndarray) -> list[Face]:
        return [Face((20.0 * i, 10.0, 20.0 * i + 18, 40.0), None, 1.0) for i in range(6)]


def build(**options) -> MetaF2N:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2)).requires_grad_(False)
    parsed = RestoreOptions(patch_size=16, inner_lr=0.1, force_adapt=True, tile=50, overlap=4, **options)
    return MetaF2N(Generator(net, 2), None, SixFaces(), build_restorer('identity'), torch.device('cpu'), parsed)


@pytest.fixture
def photo(astronaut) -> np.ndarray:
    return np.ascontiguousarray(astronaut[60:140, 150:280])


@pytest.mark.parametrize(('unadapted', 'passes'), [(False, 1), (True, 2)])
def test_a_callback_hears_of_faces_and_tiles_in_order(photo, unadapted, passes):
    heard: list[tuple[str, int, int]] = []
    sr = build()
    result = sr(photo, unadapted=unadapted, progress=lambda *what: heard.append(what))
    stages = list(dict.fromkeys(what for what, _, _ in heard))
    assert stages == ['search', 'faces', 'adaptation', 'tiles']
    assert [(done, total) for what, done, total in heard if what == 'faces'] == [(0, 6), (4, 6), (6, 6)]
    tiles = [(done, total) for what, done, total in heard if what == 'tiles']
    # Tiles of 50 that share 10 pixels: two rows of 80, three columns of 130.
    assert tiles[0] == (0, 6 * passes)
    assert tiles[-1] == (6 * passes, 6 * passes)
    assert tiles == sorted(tiles)
    assert np.array_equal(result.image, sr(photo).image)


def test_a_photo_in_one_piece_is_one_tile(photo):
    heard: list[tuple[str, int, int]] = []
    build(inner_steps=0)(photo[:40, :40], progress=lambda *what: heard.append(what))
    assert heard == [('tiles', 0, 1), ('tiles', 1, 1)]


def test_many_photos_say_which_one_is_at_hand(photo, tmp_path):
    for name in ('a', 'b'):
        write_photo(tmp_path / 'in' / f'{name}.png', Photo(photo))
    heard: list[tuple[str, str]] = []
    jobs = collect([tmp_path / 'in'], tmp_path / 'out')
    for _ in restore_photos(build(), jobs, progress=lambda job, what, *_: heard.append((job.source.name, what))):
        pass
    assert list(dict.fromkeys(name for name, _ in heard)) == ['a.png', 'b.png']
    assert {what for name, what in heard if name == 'b.png'} == {'search', 'faces', 'adaptation', 'tiles'}


def test_without_a_terminal_there_is_a_plain_line_every_half_minute(capsys):
    now = [0.0]
    bar = PhotoBar(2, 'restoring', clock=lambda: now[0])
    path = Path('holidays/a.jpg')
    for number in range(1, 41):
        now[0] += 4
        bar.inside(path, 'tiles', number, 40)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f'{path}: tiles {8 * i} of 40' for i in range(1, 6)]
    now[0] += 31
    bar.inside(path, 'search', 0, 1)
    assert capsys.readouterr().err == f'{path}: search\n'
    for _ in bar.track(['an outcome']):
        now[0] += 29
        bar.inside(path, 'tiles', 1, 2)  # the outcome's own line was less than half a minute ago
    assert capsys.readouterr().err == ''


def test_on_a_terminal_a_second_line_shows_the_tiles(capsys, monkeypatch):
    monkeypatch.setenv('FORCE_COLOR', '1')
    monkeypatch.setenv('TTY_INTERACTIVE', '1')
    monkeypatch.setenv('TERM', 'xterm')
    bar = PhotoBar(3, 'restoring', every=0.0)
    for _ in bar.track(['an outcome']):
        bar.inside(Path('a.jpg'), 'tiles', 3, 12)
        bar._bars.refresh()
    shown = capsys.readouterr().err
    assert 'restoring' in shown
    assert 'a.jpg: tiles' in shown
    assert '3/12' in shown
