"""`metaf2n web`: what the page answers, and the page itself where gradio is installed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from metaf2n_arch.archs.mask_net_arch import MaskNet
from metaf2n_arch.cli.main import app
from metaf2n_arch.faces.detector import Detector, DetectorOptions, Face
from metaf2n_arch.faces.restorers import build_restorer
from metaf2n_arch.images.photo import Photo
from metaf2n_arch.images.reading import read_photo
from metaf2n_arch.images.writing import write_photo
from metaf2n_arch.inference import MetaF2N, RestoreOptions
from metaf2n_arch.utils.checks import OptionError
from metaf2n_arch.web.answering import Wishes, answer
from metaf2n_arch.web.serving import load_gradio
from metaf2n_arch.weights.loading import Generator


class FaceInWidePhotos(Detector):
    """Says that every photo wider than high shows one face."""

    def __init__(self) -> None:
        super().__init__(DetectorOptions(type='cascade'))

    def _search(self, image: np.ndarray) -> list[Face]:
        return [Face((4.0, 4.0, 24.0, 28.0), None, 0.75)] if image.shape[1] > image.shape[0] else []


@pytest.fixture
def sr() -> MetaF2N:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 12, 3, padding=1), torch.nn.PixelShuffle(2)).requires_grad_(False)
    torch.nn.init.dirac_(net[0].weight[:3])
    mask = MaskNet(num_feat=8, num_conv=3, bias_last=1.0).requires_grad_(False)
    options = RestoreOptions(patch_size=16, inner_lr=0.1, force_adapt=True)
    parts = Generator(net, 2), mask, FaceInWidePhotos(), build_restorer('identity')
    return MetaF2N(*parts, torch.device('cpu'), options)


@pytest.fixture
def upload(tmp_path, astronaut) -> Path:
    path = tmp_path / 'upload' / 'photo.png'
    write_photo(path, Photo(astronaut[60:100, 200:250]))
    return path


def test_a_photo_is_answered_with_its_faces_and_the_result(sr, upload, tmp_path, astronaut):
    result = sr(astronaut[60:100, 200:250], unadapted=True)
    found = answer(sr, str(upload), str(tmp_path / 'place'), 1.0)
    assert found.text.startswith(f'1 face found. On it, adaptation gained {result.gain.psnr:+.2f} dB')
    before, after = found.slider
    assert before.shape == after.shape == (80, 100, 3)
    assert np.array_equal(after, result.image)
    assert [np.array_equal(a, b) for a, b in zip(found.steps, (result.unadapted, result.image))] == [True, True]
    assert not np.array_equal(*found.steps)
    (lq, first), (hq, _), (confidence, last) = found.faces
    assert (lq.shape, hq.shape, confidence.shape) == ((24, 20, 3), (48, 40, 3), (48, 40, 3))
    assert first == 'face 0, score 0.75'  # as --list-faces counts them
    assert last == f'confidence, mean {result.confidence[0].mean():.2f}'
    assert Path(found.file).name == 'photo_restored.png'
    assert np.array_equal(read_photo(found.file).pixels, result.image)


def test_a_photo_without_a_face_says_so(sr, tmp_path, astronaut):
    path = tmp_path / 'high.png'
    write_photo(path, Photo(astronaut[60:110, 200:240].astype(np.uint16) * 257))
    found = answer(sr, str(path), str(tmp_path), 1.0)
    assert found.text == 'No face found: restored without adaptation.'
    assert found.faces == []
    assert found.steps is None
    assert read_photo(found.file).pixels.dtype == np.uint16


def test_mistakes_are_texts_and_leave_nothing(sr, upload, tmp_path):
    place = tmp_path / 'place'
    assert answer(sr, None, place, 1.0).text == 'No photo. Upload one first.'
    text = answer(sr, upload, place, 0.001).text
    assert text == 'photo.png is 50 x 40, 0.0 megapixels; the limit is 0.001.'
    for wishes in (Wishes(skip_faces='a'), Wishes(step='fixed', inner_lr=-1), Wishes(step='fixed', inner_lr=None)):
        text = answer(sr, upload, place, 1.0, wishes).text
        assert text.startswith('Error: ')
        assert 'expected' in text
    upload.write_text('no picture', encoding='utf-8')
    assert answer(sr, upload, place, 1.0).text.startswith('Error: photo.png cannot be read')
    Image.new('RGB', (9, 9)).save(upload, 'ico')
    assert answer(sr, upload, place, 1.0).text.startswith('Error: photo.png ')
    upload.unlink()
    assert answer(sr, upload, place, 1.0).text.startswith('Error: ')
    assert not place.exists()


@pytest.mark.parametrize(
    ('wishes', 'options'),
    [
        (Wishes(color_fix='none', step='none'), {'color_fix': 'none', 'inner_steps': 0}),
        (Wishes(color_fix='wavelet', step='fixed', inner_lr=0.05), {'color_fix': 'wavelet', 'inner_lr': 0.05}),
        (Wishes(step='fixed', inner_lr=0.1, paste_faces=0.5), {'inner_lr': 0.1, 'paste_faces': 0.5}),
        (Wishes(step='fixed', inner_lr=0.1, skip_faces='0'), {'inner_steps': 0}),
        (Wishes(step='auto'), {'inner_lr': 'auto'}),
    ],
)
def test_controls_are_the_options_of_the_library(sr, upload, tmp_path, astronaut, wishes, options):
    found = answer(sr, upload, tmp_path / 'place', 1.0, wishes)
    expected = sr.with_options(**options)(astronaut[60:100, 200:250])
    assert np.array_equal(read_photo(found.file).pixels, expected.image)


def test_a_step_that_is_not_taken_says_why(sr, upload, tmp_path):
    sr = sr.with_options(force_adapt=False)
    found = answer(sr, upload, tmp_path, 1.0, Wishes(step='fixed', inner_lr=1.0))
    assert found.text == '1 face found, restored without adaptation: no gain on the faces.'
    assert found.steps is None
    far = answer(sr, upload, tmp_path, 1.0, Wishes(step='fixed', inner_lr=1e38))
    assert far.text == 'Error: the step size 1e+38 is far too large; give a smaller one, or auto.'
    assert far.file is None
    assert answer(sr, upload, tmp_path, 1.0, Wishes(step='none')).text == 'Restored without adaptation.'


def test_without_a_mask_net_there_is_no_blank_panel(sr, upload, tmp_path):
    plain = MetaF2N(sr.generator, None, sr.detector, sr.restorer, sr.device, sr.options)
    captions = [caption for _, caption in answer(plain, upload, tmp_path, 1.0).faces]
    assert captions == ['face 0, score 0.75', 'restored']


def test_without_gradio_the_command_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, 'gradio', None)
    for name in ('GRADIO_TEMP_DIR', 'GRADIO_ANALYTICS_ENABLED'):
        monkeypatch.setenv(name, '')
    with pytest.raises(OptionError, match=r'pip install "gradio>='):
        load_gradio('place')
    result = CliRunner().invoke(app, ['web'])
    assert isinstance(result.exception, OptionError)


def test_every_network_option_of_the_command_reaches_the_network_it_names(monkeypatch):
    given: dict = {}

    def load(weights: str, **options: object) -> SimpleNamespace:
        given.update(options, weights=weights)
        return SimpleNamespace(about='about the weights')

    monkeypatch.setattr(MetaF2N, 'load', load)
    monkeypatch.setattr('metaf2n_arch.cli.blocks._locate', lambda *arguments: None)  # no such files
    given_to_page: list = []
    for name in ('load_gradio', 'serve'):
        monkeypatch.setattr(f'metaf2n_arch.web.serving.{name}', lambda *arguments: given_to_page.append(arguments))
    page = SimpleNamespace(build_page=lambda *arguments: 'the page')
    monkeypatch.setitem(sys.modules, 'metaf2n_arch.web.page', page)
    options = {
        '--weights': 'g.pth',
        '--param-key': 'net_g',
        '--architecture': '{type: RRDBNet}',
        '--mask-weights': 'm.pth',
        '--mask-architecture': '{upsample: authors}',
        '--detector': 'yunet',
        '--restorer': '{type: gpen, size: 256}',
        '--device': 'cpu',
    }
    words = [text for pair in options.items() for text in pair]
    more = '--port 7999 --max-mb 3 --max-total-mb 9 --allow-host a.lan --allow-host b.lan'
    result = CliRunner().invoke(app, ['web', *words, *more.split()])
    assert result.exit_code == 0
    assert 'about the weights\nhttp://127.0.0.1:7999' in result.output
    [(folder,), (shown, host, port, place, *limits)] = given_to_page
    assert (shown, host, port, limits) == ('the page', '127.0.0.1', 7999, [3, 9, ['a.lan', 'b.lan']])
    assert folder == place
    assert not place.exists()
    assert given == {
        'weights': 'g.pth',
        'param_key': 'net_g',
        'architecture': {'type': 'RRDBNet'},
        'mask_weights': 'm.pth',
        'mask_architecture': {'upsample': 'authors'},
        'detector': 'yunet',
        'restorer': {'type': 'gpen', 'size': 256},
        'device': 'cpu',
    }
