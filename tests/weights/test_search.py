"""The search path: one for every weights file, what users have is found, and all that is missing is named at once."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.weights import search
from metaf2n_arch.weights.published import TABLE, PublishedFile
from metaf2n_arch.weights.search import folders, is_published, locate, locate_all, table, torch_folder

CONTENT = b'weights' * 1000


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty machine: no folder of ours, torch's or BasicSR's holds anything."""
    monkeypatch.delenv('METAF2N_WEIGHTS', raising=False)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(search, '_told', set())
    return tmp_path


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> PublishedFile:
    """A published file whose content is known."""
    entry = PublishedFile(
        'toy', 'toy.pth', 'https://example.org/toy.pth', None, hashlib.sha256(CONTENT).hexdigest(), 'MIT', 'tests'
    )
    monkeypatch.setattr(search, 'TABLE', (*TABLE, entry))
    return entry


def put(path: Path, content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_file_is_found_in_every_folder_of_the_path_and_the_first_wins(home, monkeypatch):
    places = [
        home / 'chosen',
        home / 'cache' / 'metaf2n' / 'weights',
        home / 'torch' / 'hub' / 'checkpoints',
        home / 'torch' / 'hub' / 'pyiqa',
        Path('experiments/pretrained_models'),
    ]
    monkeypatch.setenv('METAF2N_WEIGHTS', str(home / 'chosen'))
    assert list(folders())[:5] == places
    for place in reversed(places):
        put(place / 'niqe_modelparameters.mat')
        assert locate('niqe') == place / 'niqe_modelparameters.mat'
        assert locate('niqe_modelparameters.mat') == place / 'niqe_modelparameters.mat'


def test_torchs_folder_is_the_one_torch_uses_also_where_torch_is_not_imported(home):
    code = 'import sys, metaf2n_arch.weights.search as s; print("torch" in sys.modules, s.torch_folder())'
    run = [sys.executable, '-c', code]
    said = subprocess.run(run, env={**os.environ, 'METAF2N_BRIDGE': '0'}, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ['False', torch.hub.get_dir()]
    assert str(torch_folder()) == torch.hub.get_dir()


def test_a_published_file_is_verified_once(home, toy, capsys, monkeypatch):
    put(home / 'cache' / 'metaf2n' / 'weights' / 'toy.pth')
    count = []
    monkeypatch.setattr(
        search, 'checksum', lambda path: count.append(path) or hashlib.sha256(path.read_bytes()).hexdigest()
    )
    for _ in range(3):
        locate('toy')
    assert len(count) == 1
    assert capsys.readouterr().err == ''


def test_another_file_under_a_published_name_is_said_once_and_used(home, toy, capsys):
    file = put(home / 'torch' / 'hub' / 'checkpoints' / 'toy.pth', b'another')
    assert [locate('toy'), locate('toy')] == [file, file]
    said = capsys.readouterr().err
    assert said.count('is not the file published under this name') == 1
    assert 'metaf2n weights fetch toy' in said


def test_a_file_that_changes_is_verified_again(home, toy):
    file = put(home / 'toy.pth')
    assert is_published(file, toy) is True
    put(file, CONTENT[::-1])
    os.utime(file, ns=(1, 1))
    assert is_published(file, toy) is False


def test_a_damaged_or_unwritable_memory_costs_time_and_nothing_else(home, toy):
    file = put(home / 'toy.pth')
    for content in (b'{', b'[]', b'{"x": 3}', b'\xff'):
        put(home / 'cache' / 'metaf2n' / 'checksums.json', content)
        assert is_published(file, toy) is True
    (home / 'cache' / 'metaf2n' / 'checksums.json').unlink()
    (home / 'cache' / 'metaf2n' / 'checksums.json').mkdir()
    assert is_published(file, toy) is True


def test_the_first_digits_of_a_checksum_verify_too(home):
    file = put(home / 'x.pth')
    digits = hashlib.sha256(CONTENT).hexdigest()[:8]
    assert is_published(file, PublishedFile('x', 'x.pth', '', None, digits, '', '')) is True
    assert is_published(file, PublishedFile('x', 'x.pth', '', None, '0' * 8, '', '')) is False
    assert is_published(file, PublishedFile('x', 'x.pth', '', 3, digits, '', '')) is False
    assert is_published(file, PublishedFile('x', 'x.pth', '', None, None, '', '')) is None


def test_all_that_is_missing_is_named_at_once_with_one_command(home):
    put(home / 'cache' / 'metaf2n' / 'weights' / 'GPEN-BFR-512.pth')
    wanted = {
        'realesrgan_x4plus': '--weights',
        'gpen_bfr_512': '--restorer',
        'retinaface_resnet50': '--detector',
        'mine.pth': '--mask-weights',
    }
    with pytest.raises(DataError) as caught:
        locate_all(wanted, also={'inception': 'val.metrics.fid'})
    message = str(caught.value)
    assert '\n' not in message
    assert 'run: metaf2n weights fetch realesrgan_x4plus retinaface_resnet50 inception (' in message
    assert '--mask-weights: mine.pth: no such file' in message
    assert 'RealESRGAN_x4plus.pth (--weights)' in message
    assert 'about 272 MB' in message


def test_what_a_run_does_without_is_no_reason_to_stop(home):
    put(home / 'cache' / 'metaf2n' / 'weights' / 'GPEN-BFR-512.pth')
    locate_all({'gpen_bfr_512': '--restorer'}, also={'inception': 'val.metrics.fid'})


def test_one_missing_file_is_told_as_anywhere_else(home):
    with pytest.raises(DataError, match=r'^LPIPS needs the file alexnet-.*run: metaf2n weights fetch lpips_alex'):
        locate_all({'lpips_alex': 'LPIPS'})


def test_a_path_is_no_name_and_is_not_searched_for(home):
    put(home / 'cache' / 'metaf2n' / 'weights' / 'net.pth')
    assert locate('net.pth') == home / 'cache' / 'metaf2n' / 'weights' / 'net.pth'
    with pytest.raises(DataError, match='no such file'):
        locate(home / 'net.pth')


def test_every_network_of_a_loss_or_metric_has_its_file_in_the_table():
    assert {
        'lpips_alex',
        'lpips_vgg',
        'lpips_squeeze',
        'vgg19',
        'dists',
        'inception',
        'niqe',
        'brisque',
    } <= table().keys()
