"""`metaf2n web`: what the page answers, and the page itself where gradio is installed."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from metaf2n_arch.archs.mask_net_arch import MaskNet
from metaf2n_arch.cli.main import app
from metaf2n_arch.cli.web import answer, build_page, load_gradio, serve
from metaf2n_arch.faces.detector import Detector, DetectorOptions, Face
from metaf2n_arch.faces.restorers import build_restorer
from metaf2n_arch.images.photo import Photo
from metaf2n_arch.images.reading import read_photo
from metaf2n_arch.images.writing import write_photo
from metaf2n_arch.inference import MetaF2N, RestoreOptions
from metaf2n_arch.utils.checks import OptionError
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
    result = sr(astronaut[60:100, 200:250])
    found = answer(sr, str(upload), str(tmp_path), 1.0)
    assert found.text.startswith(f'1 face found. On it, adaptation gained {result.gain.psnr:+.2f} dB')
    before, after = found.slider
    assert before.shape == after.shape == (80, 100, 3)
    assert np.array_equal(after, result.image)
    (lq, first), (hq, _), (confidence, last) = found.faces
    assert (lq.shape, hq.shape, confidence.shape) == ((24, 20, 3), (48, 40, 3), (48, 40, 3))
    assert first == 'face 1, score 0.75'
    assert last == f'confidence, mean {result.confidence[0].mean():.2f}'
    assert Path(found.file).name == 'photo_restored.png'
    assert np.array_equal(read_photo(found.file).pixels, result.image)
    assert not upload.exists()


def test_a_photo_without_a_face_says_so(sr, tmp_path, astronaut):
    path = tmp_path / 'high.png'
    write_photo(path, Photo(astronaut[60:110, 200:240].astype(np.uint16) * 257))
    found = answer(sr, str(path), str(tmp_path), 1.0)
    assert found.text == 'No face found: restored without adaptation.'
    assert found.faces == []
    assert read_photo(found.file).pixels.dtype == np.uint16


def test_mistakes_are_texts_and_leave_nothing(sr, upload, tmp_path, monkeypatch):
    assert answer(sr, None, str(tmp_path), 1.0).text == 'No photo.'
    text = answer(sr, str(upload), str(tmp_path / 'place'), 0.001).text
    assert text == 'photo.png is 50 x 40, 0.0 megapixels; the limit is 0.001.'
    assert not upload.exists()
    upload.write_text('no picture', encoding='utf-8')
    assert answer(sr, str(upload), str(tmp_path / 'place'), 1.0).text.startswith('Error: photo.png cannot be read')
    assert not upload.exists()
    Image.new('RGB', (9, 9)).save(upload, 'ico')
    assert answer(sr, str(upload), str(tmp_path / 'place'), 1.0).text.startswith('Error: photo.png ')
    assert not (tmp_path / 'place').exists()


def test_without_gradio_the_command_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, 'gradio', None)
    for name in ('GRADIO_TEMP_DIR', 'GRADIO_ANALYTICS_ENABLED'):
        monkeypatch.setenv(name, '')
    with pytest.raises(OptionError, match=r'pip install "metaf2n-arch\[web\]"'):
        load_gradio('place')
    result = CliRunner().invoke(app, ['web'])
    assert isinstance(result.exception, OptionError)


def test_every_network_option_of_the_command_reaches_the_network_it_names(monkeypatch):
    given: dict = {}
    monkeypatch.setattr(MetaF2N, 'load', lambda weights, **options: given.update(options, weights=weights))
    for name in ('load_gradio', 'build_page', 'serve'):
        monkeypatch.setattr(f'metaf2n_arch.cli.web.{name}', lambda *arguments: None)
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
    assert CliRunner().invoke(app, ['web', *(text for pair in options.items() for text in pair)]).exit_code == 0
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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


@pytest.fixture
def page(sr, tmp_path, monkeypatch):
    for name in ('GRADIO_TEMP_DIR', 'GRADIO_ANALYTICS_ENABLED'):
        monkeypatch.setenv(name, '')
    if importlib.util.find_spec('gradio') is None:
        pytest.skip('the page needs gradio: pip install ".[web]"')
    gradio = load_gradio(str(tmp_path / 'served'))
    built = build_page(gradio, sr, str(tmp_path), 1.0)
    port = free_port()
    serve(built, '127.0.0.1', port, max_mb=1, wait=False)
    yield f'http://127.0.0.1:{port}/'
    built.close()


def test_the_page_restores_an_upload(page, sr, upload, tmp_path, astronaut):
    from gradio_client import Client, handle_file

    with urllib.request.urlopen(page, timeout=30) as reply:
        assert reply.status == 200
    client = Client(page, verbose=False)
    text, slider, faces, file = client.predict(handle_file(str(upload)), api_name='/restore')
    assert text.startswith('1 face found.')
    assert len(slider) == 2
    assert len(faces) == 3
    assert np.array_equal(read_photo(file).pixels, sr(astronaut[60:100, 200:250]).image)
    broken = tmp_path / 'broken.png'
    broken.write_text('no picture', encoding='utf-8')
    assert client.predict(handle_file(str(broken)), api_name='/restore')[0].startswith('Error: broken.png')


@pytest.mark.slow
def test_a_browser_shows_faces_confidence_and_the_slider(page, upload):
    chromium = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
    if chromium is None:
        pytest.skip('needs a Chromium on the PATH')
    playwright = pytest.importorskip('playwright.sync_api', reason='drives the browser: pip install playwright')
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=['--no-sandbox'])
        tab = browser.new_page()
        mistakes: list[str] = []
        tab.on('pageerror', lambda error: mistakes.append(str(error)))
        tab.goto(page)
        tab.wait_for_selector('input[type=file]', state='attached')
        tab.set_input_files('input[type=file]', str(upload))
        tab.wait_for_function(
            "[...document.querySelectorAll('textarea')].some(t => t.value.startsWith('1 face found'))"
        )
        # Before and after, then the face, the restored face and its confidence, all loaded.
        widths = '[...document.querySelectorAll("img")].slice(0, 5).map(image => image.naturalWidth)'
        tab.wait_for_function(f'String({widths}) == "100,100,20,40,40"')
        browser.close()
    assert mistakes == []


def test_an_upload_that_is_too_large_is_refused(page, tmp_path):
    from gradio_client import Client, handle_file

    large = tmp_path / 'large.png'
    large.write_bytes(bytes(2_000_000))
    with pytest.raises(Exception, match=r'(?i)413|size|large'):
        Client(page, verbose=False).predict(handle_file(str(large)), api_name='/restore')


def test_a_port_in_use_is_one_line(page, sr, tmp_path):
    gradio = load_gradio(str(tmp_path))
    port = int(page.rsplit(':', 1)[1].strip('/'))
    with pytest.raises(OptionError, match='give another --port'):
        serve(build_page(gradio, sr, str(tmp_path), 1.0), '127.0.0.1', port, max_mb=1, wait=False)
