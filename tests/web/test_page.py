"""The web page itself, where gradio is installed: asked by its client, and by a browser."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip('gradio', reason='the page needs gradio: pip install ".[web]"')

from metaf2n_arch.archs.mask_net_arch import MaskNet
from metaf2n_arch.faces.detector import Detector, DetectorOptions, Face
from metaf2n_arch.faces.restorers import build_restorer
from metaf2n_arch.images.photo import Photo
from metaf2n_arch.images.reading import read_photo
from metaf2n_arch.images.writing import write_photo
from metaf2n_arch.inference import MetaF2N, RestoreOptions
from metaf2n_arch.utils.checks import OptionError
from metaf2n_arch.web.serving import load_gradio, serve
from metaf2n_arch.weights.loading import Generator


class FaceInWidePhotos(Detector):
    """Says that every photo wider than high shows one face."""

    def __init__(self) -> None:
        super().__init__(DetectorOptions(type='cascade'))

    def _search(self, image: np.ndarray) -> list[Face]:
        return [Face((4.0, 4.0, 24.0, 28.0), None, 0.75)] if image.shape[1] > image.shape[0] else []


@pytest.fixture(scope='module')
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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


@pytest.fixture(scope='module')
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp('place')


@pytest.fixture(scope='module')
def page(sr, place):
    before = {name: os.environ.get(name) for name in ('GRADIO_TEMP_DIR', 'GRADIO_ANALYTICS_ENABLED')}
    load_gradio(place)
    from metaf2n_arch.web.page import build_page

    port = free_port()
    built = build_page(sr, place, 1.0)
    serve(built, '127.0.0.1', port, place, max_mb=1, max_total_mb=3, wait=False)
    yield f'http://127.0.0.1:{port}/'
    built.close()
    for name, value in before.items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def client_of(page: str, folder: Path):
    from gradio_client import Client

    return Client(page, verbose=False, download_files=str(folder / 'downloads'))


def kept(place: Path) -> list[str]:
    """Names of what lies there; gradio makes an empty file of no name with each upload."""
    return sorted(path.name for path in place.rglob('*') if path.is_file() and path.stat().st_size)


def wishes(**changes: object) -> list[object]:
    controls = {'color_fix': 'lowfreq', 'step': 'fixed', 'rate': 0.1, 'which': 'all', 'skip': '', 'paste': 0.0}
    return list({**controls, **changes}.values())


def value(shown: object) -> object:
    """A component's value, whether its visibility comes with it or not."""
    return shown['value'] if isinstance(shown, dict) and 'value' in shown else shown


def test_the_page_restores_an_upload_again_and_clears_everything(page, place, sr, upload, tmp_path, astronaut):
    from gradio_client import handle_file

    photo = astronaut[60:100, 200:250]
    client = client_of(page, tmp_path)
    shown = client.predict(handle_file(str(upload)), *wishes(), api_name='/restore')
    text, slider, steps, faces, file = map(value, shown)
    assert text.startswith('1 face found.')
    assert 'step size of 0.1' in text
    assert (len(slider), len(steps), len(faces)) == (2, 2, 3)
    assert np.array_equal(read_photo(file).pixels, sr(photo).image)
    assert kept(place).count('photo.png') == 1
    # Other controls, without another upload.
    text, _, steps, faces, file = map(value, client.predict(*wishes(color_fix='none', step='none'), api_name='/again'))
    assert text == 'Restored without adaptation.'
    assert np.array_equal(read_photo(file).pixels, sr.with_options(color_fix='none', inner_steps=0)(photo).image)
    assert kept(place) == ['photo.png', 'photo_0.png', 'photo_1.png', 'photo_restored.png']
    cleared = [value(part) for part in client.predict(api_name='/clear')]
    assert cleared == [None, '', None, None, [], None]
    assert kept(place) == []
    assert value(client.predict(*wishes(), api_name='/again')[0]) == 'No photo. Upload one first.'


def test_mistakes_are_one_line_and_nothing_is_kept(page, place, tmp_path):
    from gradio_client import handle_file

    client = client_of(page, tmp_path)
    broken = tmp_path / 'broken.png'
    broken.write_text('no picture', encoding='utf-8')
    text = value(client.predict(handle_file(str(broken)), *wishes(), api_name='/restore')[0])
    assert text.startswith('Error: broken.png')
    assert '\n' not in text
    assert kept(place) == []


def test_visits_do_not_see_one_another_and_leave_nothing(page, place, upload, tmp_path):
    from gradio_client import handle_file

    first, second = client_of(page, tmp_path), client_of(page, tmp_path)
    other = shutil.copy(upload, tmp_path / 'other.png')  # of the same content, which gradio puts into the same place
    for client, file in ((first, upload), (second, other)):
        assert value(client.predict(handle_file(str(file)), *wishes(), api_name='/restore')[0]).startswith('1 face')
    first.predict(api_name='/clear')
    assert value(second.predict(*wishes(), api_name='/again')[0]).startswith('1 face')
    assert 'other.png' in kept(place)
    assert 'photo.png' not in kept(place)
    second.predict(api_name='/clear')
    assert kept(place) == []


def test_an_upload_that_is_too_large_is_refused(page, place, tmp_path):
    from gradio_client import handle_file

    large = tmp_path / 'large.png'
    large.write_bytes(bytes(2_000_000))
    with pytest.raises(Exception, match=r'(?i)413|size|large'):
        client_of(page, tmp_path).predict(handle_file(str(large)), *wishes(), api_name='/restore')
    assert kept(place) == []


@pytest.mark.parametrize('headers', [{'Host': 'evil.example'}, {'Origin': 'https://evil.example'}])
def test_strangers_are_refused_in_one_line(page, headers):
    with urllib.request.urlopen(page, timeout=30) as reply:
        assert reply.status == 200
        assert "default-src 'self'" in reply.headers['Content-Security-Policy']
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(f'{page}config', headers=headers), timeout=30)
    assert refused.value.code == 403
    assert refused.value.read().decode().count('\n') == 1


def test_a_port_in_use_is_one_line(page, sr, tmp_path):
    from metaf2n_arch.web.page import build_page

    port = int(page.rsplit(':', 1)[1].strip('/'))
    with pytest.raises(OptionError, match='give another --port'):
        serve(build_page(sr, tmp_path, 1.0), '127.0.0.1', port, tmp_path, max_mb=1, max_total_mb=1, wait=False)


@pytest.mark.slow
@pytest.mark.skipif(os.name == 'nt', reason='signals of POSIX')
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_command_leaves_nothing_of_an_upload(data_dir, upload, tmp_path, number):
    """Ended while it restores; what a kill leaves is swept by the next start."""
    from gradio_client import Client, handle_file

    temporary = tmp_path / 'tmp'
    temporary.mkdir()
    weights = data_dir / 'weights' / 'realesr-animevideov3.pth'
    environment = {**os.environ, 'TMPDIR': str(temporary)}

    def start() -> tuple[subprocess.Popen[bytes], str]:
        port = free_port()
        words = ['web', '--weights', str(weights), '--detector', 'cascade', '--restorer', 'identity', '--device', 'cpu']
        words += ['--port', str(port)]
        command = [sys.executable, '-m', 'metaf2n_arch', *words]
        process = subprocess.Popen(command, env=environment, cwd=tmp_path)
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f'http://127.0.0.1:{port}/', timeout=5).close()
                return process, f'http://127.0.0.1:{port}/'
            except OSError:
                time.sleep(0.3)
        pytest.fail('the page does not come up')

    process, address = start()
    client = Client(address, verbose=False, download_files=False)
    client.predict(handle_file(str(upload)), *wishes(step='none'), api_name='/restore')
    client.submit(handle_file(str(upload)), *wishes(), api_name='/restore')
    assert any(path.suffix == '.png' for path in temporary.rglob('*'))
    process.send_signal(number)
    process.wait(30)
    if number == signal.SIGKILL:
        assert any(path.suffix == '.png' for path in temporary.rglob('*'))
        time.sleep(2)
        process, _ = start()
        assert not any(path.suffix == '.png' for path in temporary.rglob('*'))
        process.terminate()
        process.wait(30)
    assert list(temporary.rglob('*')) == []
    assert not (tmp_path / '.gradio').exists()


@pytest.mark.slow
def test_a_browser_shows_faces_confidence_and_the_sliders(page, place, upload):
    chromium = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
    if chromium is None:
        pytest.skip('needs a Chromium on the PATH')
    playwright = pytest.importorskip('playwright.sync_api', reason='drives the browser: pip install playwright')
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=['--no-sandbox'])
        tab = browser.new_page(viewport={'width': 1280, 'height': 1600})
        mistakes: list[str] = []
        addresses: list[str] = []
        tab.on('pageerror', lambda error: mistakes.append(str(error)))
        tab.on('request', lambda request: addresses.append(request.url))
        tab.goto(page)
        tab.wait_for_selector('input[type=file]', state='attached')
        tab.set_input_files('input[type=file]', str(upload))
        said = "[...document.querySelectorAll('textarea')].some(t => t.value.startsWith('1 face found'))"
        tab.wait_for_function(said)
        # Photo and result, not adapted and adapted, then the face, the restored face and its confidence, all loaded.
        widths = '[...document.querySelectorAll("img")].filter(i => i.offsetParent).map(i => i.naturalWidth)'
        tab.wait_for_function(f'String({widths}.slice(0, 7)) == "100,100,100,100,20,40,40"')
        if os.environ.get('METAF2N_SHOTS'):
            tab.screenshot(path=os.environ['METAF2N_SHOTS'] + '/page.png', full_page=True)
        tab.get_by_text('Clear', exact=True).click()
        tab.wait_for_function(f'!({said}) && {widths}.length == 0')
        assert kept(place) == []
        if os.environ.get('METAF2N_SHOTS'):
            tab.screenshot(path=os.environ['METAF2N_SHOTS'] + '/cleared.png', full_page=True)
        tab.set_input_files('input[type=file]', str(upload))
        tab.wait_for_function(said)
        tab.close()
        deadline = time.monotonic() + 20
        while kept(place) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert kept(place) == []  # a visit that ends takes its files along
        browser.close()
    assert mistakes == []
    assert [address for address in addresses if not address.startswith((page, 'data:', 'blob:'))] == []
