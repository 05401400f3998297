"""The web page's doorkeeper, asked as a server asks it: whom it lets in, and how large requests may be."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from metaf2n_arch.web.doorkeeper import Doorkeeper


def ask(
    keeper: Doorkeeper, method: str = 'GET', path: str = '/', kind: str = 'http', **headers: str
) -> tuple[int, str]:
    """Status and text of an answer; the page itself says 200 and `in`."""
    sent: list[dict] = []
    raw = [(name.replace('_', '-').encode(), value.encode()) for name, value in headers.items()]
    scope = {'type': kind, 'method': method, 'path': path, 'headers': raw}

    async def receive() -> dict:
        return {'type': 'http.request', 'body': b''}

    async def send(message: dict) -> None:
        sent.append(message)

    asyncio.run(keeper(scope, receive, send))
    if kind == 'websocket':
        return sent[0]['code'], sent[0]['type']
    return sent[0]['status'], sent[1]['body'].decode()


@pytest.fixture
def keeper(tmp_path) -> Doorkeeper:
    async def page(scope, receive, send) -> None:
        if scope['type'] == 'websocket':
            await send({'type': 'websocket.accept', 'code': 0})
            return
        await send({'type': 'http.response.start', 'status': 200, 'headers': []})
        await send({'type': 'http.response.body', 'body': b'in'})

    return Doorkeeper(page, ['127.0.0.1', 'photos.lan'], tmp_path, max_file=50_000, max_total=200_000)


@pytest.mark.parametrize(
    'host',
    ['127.0.0.1:7860', 'localhost', 'LOCALHOST:7860', '[::1]:7860', '192.168.3.4:7860', 'photos.lan', 'Photos.LAN:80'],
)
def test_names_of_this_machine_are_let_in(keeper, host):
    assert ask(keeper, host=host) == (200, 'in')


@pytest.mark.parametrize(
    'host', ['evil.example', 'evil.example:7860', '127.0.0.1.evil.example', 'localhost.evil.example', '', '[::1', '[]']
)
def test_a_name_that_a_stranger_points_here_is_refused(keeper, host):
    """DNS rebinding: the browser believes that it talks to evil.example."""
    status, text = ask(keeper, host=host)
    assert status == 403
    assert '--allow-host' in text
    assert text.count('\n') == 1
    assert ask(keeper, kind='websocket', host=host) == (1008, 'websocket.close')


@pytest.mark.parametrize(
    'origin', ['https://evil.example', 'null', 'http://localhost:1', 'http://localhost', 'file://', 'localhost:7860']
)
def test_requests_of_other_pages_are_refused(keeper, origin):
    status, text = ask(
        keeper, 'POST', '/gradio_api/queue/join', host='localhost:7860', origin=origin, content_length='9'
    )
    assert status == 403
    assert 'other pages' in text
    own = {'host': 'localhost:7860', 'origin': 'http://localhost:7860', 'content_length': '9'}
    assert ask(keeper, 'POST', '/gradio_api/queue/join', **own) == (200, 'in')
    assert ask(keeper, kind='websocket', host='localhost:7860', origin=origin)[0] == 1008


@pytest.mark.parametrize(
    ('path', 'length', 'status'),
    [
        ('/upload', 59_000, 200),
        ('/gradio_api/upload', 61_000, 413),
        ('/upload/', 61_000, 413),
        ('/api', 900_000, 200),
        ('/api', 1_100_000, 413),
    ],
)
def test_a_request_may_only_be_so_large(keeper, path, length, status):
    assert ask(keeper, 'POST', path, host='localhost', content_length=str(length))[0] == status


def test_a_request_that_hides_its_length_is_refused(keeper):
    assert ask(keeper, 'POST', '/upload', host='localhost', transfer_encoding='chunked')[0] == 411
    assert ask(keeper, 'POST', '/api', host='localhost')[0] == 200


def test_all_uploads_and_results_together_may_only_be_so_large(keeper, tmp_path):
    (tmp_path / 'shown').mkdir()
    (tmp_path / 'shown' / 'a.png').write_bytes(bytes(160_000))
    assert ask(keeper, 'POST', '/upload', host='localhost', content_length='39000')[0] == 200
    status, text = ask(keeper, 'POST', '/upload', host='localhost', content_length='41000')
    assert status == 413
    assert '0.2 MB of uploads and results' in text
    os.utime(tmp_path / 'shown' / 'a.png', (0, time.time() - 7200))  # nobody has asked for it for two hours
    assert ask(keeper, 'POST', '/upload', host='localhost', content_length='41000')[0] == 200
    assert not (tmp_path / 'shown' / 'a.png').exists()
