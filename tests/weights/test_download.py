"""Weights by name against a server on this machine: fetched, verified, resumed, refused. Nothing leaves the machine."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.weights.download import fetch
from metaf2n_arch.weights.published import TABLE, PublishedFile
from metaf2n_arch.weights.search import cache_folder, locate, table

CONTENT = bytes(range(256)) * 2000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """A web server of one file, whose behaviour a test sets: content, ETag, after how many bytes it hangs up."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.etag: str | None = '"one"'
        self.hang_up_after: int | None = None
        self.status = 200
        self.ranges: list[str | None] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        self.url = f'http://127.0.0.1:{self.http.server_port}/weights.pth'

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get('Range')
        self.ranges.append(wanted)
        if self.status != 200:
            request.send_error(self.status)
            return
        start = 0
        if wanted and request.headers.get('If-Range') == self.etag:
            start = int(wanted.removeprefix('bytes=').removesuffix('-'))
        body = self.content[start:]
        request.send_response(206 if start else 200)
        request.send_header('Content-Length', str(len(body)))
        if self.etag:
            request.send_header('ETag', self.etag)
        if start:
            request.send_header('Content-Range', f'bytes {start}-{len(self.content) - 1}/{len(self.content)}')
        request.end_headers()
        request.wfile.write(body[: self.hang_up_after])

    def entry(self, sha256: str | None = DIGEST) -> PublishedFile:
        return PublishedFile('toy', 'weights.pth', self.url, None, sha256, 'MIT', 'tests')


@pytest.fixture
def server():
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv('METAF2N_WEIGHTS', str(tmp_path / 'weights'))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.chdir(tmp_path)
    for name in ('HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'all_proxy'):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / 'weights'


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_fetched_file_is_whole_and_alone(server, folder):
    assert fetch(server.entry()) == folder / 'weights.pth'
    assert (folder / 'weights.pth').read_bytes() == CONTENT
    assert names(folder) == ['weights.pth']


def test_what_is_there_and_whole_is_not_fetched_again(server, folder):
    fetch(server.entry())
    fetch(server.entry())
    assert len(server.ranges) == 1


def test_a_damaged_file_is_fetched_again(server, folder):
    folder.mkdir()
    (folder / 'weights.pth').write_bytes(CONTENT[:100])
    fetch(server.entry())
    assert (folder / 'weights.pth').read_bytes() == CONTENT


def test_another_file_than_the_published_one_is_refused_and_not_kept(server, folder):
    server.content = b'<html>quota exceeded</html>'
    with pytest.raises(DataError, match=f'checksum differs.*{DIGEST}'):
        fetch(server.entry())
    assert names(folder) == []


def test_a_broken_download_is_continued_where_it_stopped(server, folder):
    server.hang_up_after = 200_000
    with pytest.raises(DataError, match='continues where it broke off'):
        fetch(server.entry())
    assert 'weights.pth' not in names(folder)
    server.hang_up_after = None
    fetch(server.entry())
    first, second = server.ranges
    assert first is None
    assert re.fullmatch(r'bytes=\d+-', second)
    assert 0 < int(second[6:-1]) <= 200_000
    assert (folder / 'weights.pth').read_bytes() == CONTENT
    assert names(folder) == ['weights.pth']


def test_a_file_that_changed_in_between_is_fetched_from_the_start(server, folder):
    server.content, server.hang_up_after = bytes(len(CONTENT)), 200_000
    with pytest.raises(DataError):
        fetch(server.entry())
    server.content, server.etag, server.hang_up_after = CONTENT, '"two"', None
    fetch(server.entry())
    assert (folder / 'weights.pth').read_bytes() == CONTENT


def test_without_a_version_nothing_is_continued(server, folder):
    server.etag, server.hang_up_after = None, 200_000
    with pytest.raises(DataError):
        fetch(server.entry())
    server.hang_up_after = None
    fetch(server.entry())
    assert server.ranges == [None, None]
    assert (folder / 'weights.pth').read_bytes() == CONTENT


def test_a_file_without_a_published_checksum_is_fetched_and_its_checksum_said(server, folder):
    said: list[str] = []
    fetch(server.entry(sha256=None), say=said.append)
    assert len(said) == 1
    assert 'not verified' in said[0]
    assert DIGEST in said[0]


@pytest.mark.parametrize('status', [404, 503])
def test_a_refusing_server_is_one_clear_line(server, folder, status):
    server.status = status
    with pytest.raises(DataError, match=str(status)) as caught:
        fetch(server.entry())
    message = str(caught.value)
    assert '\n' not in message
    assert all(part in message for part in ('weights.pth', str(folder), DIGEST))


def test_without_a_connection_the_line_says_what_to_put_where(folder):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    entry = PublishedFile('toy', 'weights.pth', f'http://127.0.0.1:{port}/weights.pth', None, DIGEST, 'MIT', 'tests')
    with pytest.raises(DataError) as caught:
        fetch(entry)
    message = str(caught.value)
    assert '\n' not in message
    assert all(part in message for part in ('weights.pth', str(folder), DIGEST, 'could not be fetched'))
    assert '(the connection to 127.0.0.1 failed)' in message


def test_a_folder_that_cannot_be_made_is_named(server, folder):
    folder.parent.mkdir(exist_ok=True)
    folder.write_text('a file where the folder should be')
    with pytest.raises(DataError, match='could not be fetched'):
        fetch(server.entry())


def test_an_unknown_name_is_answered_with_the_nearest(folder):
    with pytest.raises(DataError, match="Did you mean 'gpen_bfr_256'"):
        fetch('gpen_bfr_25')
    with pytest.raises(DataError, match="Did you mean 'gpen_bfr_256'"):
        locate('gpen_bfr_25')


def test_what_torch_has_is_not_fetched_again(server, folder, tmp_path):
    file = tmp_path / 'torch' / 'hub' / 'checkpoints' / 'weights.pth'
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    assert fetch(server.entry()) == file
    file.write_bytes(b'another')
    assert fetch(server.entry()) == folder / 'weights.pth'
    assert len(server.ranges) == 1


def test_the_first_digits_of_a_checksum_refuse_another_file(server, folder):
    fetch(server.entry(DIGEST[:8]))
    server.content = CONTENT[::-1]
    (folder / 'weights.pth').unlink()
    with pytest.raises(DataError, match='checksum differs'):
        fetch(server.entry(DIGEST[:8]))
    assert names(folder) == []


def test_what_torchvision_reads_itself_goes_into_its_folder(server, folder, tmp_path, monkeypatch):
    entry = replace(server.entry(), home='torch')
    assert fetch(entry) == folder / 'weights.pth'  # whoever chose a folder wants it there
    monkeypatch.delenv('METAF2N_WEIGHTS')
    (folder / 'weights.pth').unlink()
    assert fetch(entry) == tmp_path / 'torch' / 'hub' / 'checkpoints' / 'weights.pth'


def test_a_file_is_found_by_path_then_in_the_folder_then_in_the_cache(tmp_path, folder, monkeypatch):
    cached = tmp_path / 'cache' / 'metaf2n' / 'weights'
    cached.mkdir(parents=True)
    (cached / 'GPEN-BFR-256.pth').write_bytes(b'cached')
    assert locate('gpen_bfr_256') == cached / 'GPEN-BFR-256.pth'
    folder.mkdir()
    (folder / 'GPEN-BFR-256.pth').write_bytes(b'chosen')
    assert locate('gpen_bfr_256') == folder / 'GPEN-BFR-256.pth'
    assert locate('GPEN-BFR-256.pth') == folder / 'GPEN-BFR-256.pth'
    monkeypatch.delenv('METAF2N_WEIGHTS')
    assert cache_folder() == cached
    own = tmp_path / 'my.pth'
    own.write_bytes(b'own')
    assert locate(own) == own


def test_missing_weights_say_file_folder_checksum_and_command(folder):
    with pytest.raises(DataError) as caught:
        locate('gfpgan_v1.4')
    message = str(caught.value)
    expected = ('GFPGANv1.4.pth', str(folder), table()['gfpgan_v1.4'].sha256, 'metaf2n weights fetch gfpgan_v1.4')
    assert all(part in message for part in expected)
    with pytest.raises(DataError, match='sha256 unknown; not verified'):
        locate('gpen_bfr_512')
    with pytest.raises(DataError, match='no such file'):
        locate(folder / 'mine.pth')


def test_every_entry_of_the_table_is_complete():
    assert len({entry.name for entry in TABLE}) == len(TABLE)
    assert len({entry.file for entry in TABLE}) == len(TABLE)
    for entry in TABLE:
        assert entry.url.startswith('https://')
        assert entry.url.endswith('/' + entry.file)
        assert entry.sha256 is None or re.fullmatch('[0-9a-f]{64}|[0-9a-f]{8}', entry.sha256)
        assert entry.licence
        assert entry.purpose


def test_the_detector_of_the_test_data_is_the_published_one(data_dir):
    content = (data_dir / 'weights' / 'face_detection_yunet_2023mar.onnx').read_bytes()
    entry = table()['yunet']
    assert (len(content), hashlib.sha256(content).hexdigest()) == (entry.size, entry.sha256)
