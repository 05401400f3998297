"""The built site in a browser: no page scrolls sideways, pictures have words, and the browser complains of nothing."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import ROOT

WIDTHS = (390, 1280)
FITS = 'document.scrollingElement.scrollWidth <= document.scrollingElement.clientWidth'
WORDLESS = "[...document.querySelectorAll('article img')].filter(i => !i.alt.trim()).map(i => i.src)"
NO_INDEX = {'config': {'lang': ['en'], 'separator': ' ', 'pipeline': [], 'fields': {}}, 'docs': []}
UNSEEN = "[...document.querySelectorAll('article img')].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files, and says nothing of it."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope='module')
def site(tmp_path_factory) -> Path:
    """The folder of the site: `METAF2N_SITE`, where it is built already."""
    if 'METAF2N_SITE' in os.environ:
        return Path(os.environ['METAF2N_SITE'])
    pytest.importorskip('mkdocs', reason='the site needs mkdocs: python -m metaf2n_arch.install docs')
    folder = tmp_path_factory.mktemp('site')
    subprocess.run([sys.executable, '-m', 'mkdocs', 'build', '--strict', '-q', '-d', str(folder)], cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope='module')
def address(site) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()


@pytest.fixture(scope='module')
def browser():
    playwright = pytest.importorskip('playwright.sync_api', reason='needs playwright: pip install playwright')
    program = shutil.which('chromium') or shutil.which('google-chrome')
    if program is None:
        pytest.skip('needs chromium or google-chrome')
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=program, args=['--no-sandbox'])
        yield opened
        opened.close()


def faults(browser, url: str) -> list[str]:
    """What is wrong with a page, in a tab of its own."""
    tab = browser.new_page()
    # Every page fetches the index of the search, which takes longer than all the rest of it.
    tab.route('**/search_index.json', lambda route: route.fulfill(json=NO_INDEX))
    found: list[str] = []
    tab.on('console', lambda line: found.append(line.text) if line.type == 'error' else None)
    tab.on('pageerror', lambda error: found.append(str(error)))
    tab.on('requestfailed', lambda request: found.append(f'no answer: {request.url}'))
    tab.goto(url)
    tab.add_style_tag(content='* { transition: none !important }')  # the menu slides aside when the width changes
    for width in WIDTHS:
        tab.set_viewport_size({'width': width, 'height': 900})
        for scheme in ('light', 'dark'):
            tab.emulate_media(color_scheme=scheme)
            if not tab.evaluate(FITS):
                found.append(f'scrolls sideways at {width} pixels, {scheme}')
    found += [f'no words for {source}' for source in tab.evaluate(WORDLESS)]
    found += [f'cannot be seen: {source}' for source in tab.evaluate(UNSEEN)]
    tab.close()
    return found


@pytest.mark.slow
def test_every_page_fits_at_two_widths_in_light_and_dark(site, address, browser):
    pages = sorted(path.relative_to(site).as_posix() for path in site.rglob('*.html'))
    assert len(pages) > 100
    wrong = [f'{page}: {fault}' for page in pages for fault in faults(browser, f'{address}/{page}')]
    assert not wrong, '\n'.join(wrong)
