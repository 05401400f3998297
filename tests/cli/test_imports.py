"""What each command imports: a guard of start-up time that does not time. The seconds are in the benchmarks."""

from __future__ import annotations

import subprocess
import sys

import pytest

WATCHED = ('torch', 'torchvision', 'basicsr', 'spandrel', 'facexlib', 'gfpgan', 'pyiqa', 'lpips', 'numba', 'matplotlib')
PROGRAM = f"""
import atexit, sys
atexit.register(lambda: print('LOADED', *(name for name in {WATCHED!r} if name in sys.modules)))
from metaf2n_arch.cli.main import main
main()
"""


def loaded(*arguments: object) -> tuple[int, set[str]]:
    """The exit code of a command, and which of the watched libraries it had loaded at its end."""
    command = [sys.executable, '-c', PROGRAM, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith('LOADED'))
    return done.returncode, set(line.split()[1:])


@pytest.mark.parametrize(
    ('arguments', 'code'),
    [
        (['--version'], 0),
        (['restore', '--help'], 0),
        (['prepare', '--help'], 0),
        (['weights', 'list'], 0),
        (['doctor', 'restor'], 2),
        (['weights', 'path', 'gpen_bfr_25'], 2),
        (['weights', 'fetch', '--for', 'absent.yml'], 2),
        (['restore', 'photo.jpg', '-o', 'out', '--half', '--bf16'], 2),
        (['restore', 'photo.jpg', '-o', 'out', '--backend', 'onnx'], 2),
        (['restore', 'photo.jpg', '-o', 'out', '--backend', 'ncnn', '--bf16'], 2),
        (['restore', 'photo.jpg', '-o', 'out', '--detector', 'yunett'], 2),
        (['restore', 'photo.jpg'], 2),
        (['restore', 'photo.jpg', '-o', 'out'], 1),
        (['restore', 'photo.jpg', '-o', 'out', '--require-face', '--steps', '0'], 2),
        (['restore', 'photo.jpg', '-o', 'out', '--inner-lr', 'fast'], 2),
        (['export', 'net.pth', '-o', 'net.safetensors', '--push', 'me/net'], 2),
    ],
    ids=lambda value: ' '.join(value) if isinstance(value, list) else str(value),
)
def test_what_needs_no_network_loads_none(arguments, code):
    assert loaded(*arguments) == (code, set())


def test_missing_weights_are_named_before_torch_is_loaded(tmp_path, monkeypatch):
    from PIL import Image

    Image.new('RGB', (16, 12), 'teal').save(tmp_path / 'small.png')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    photo, out = tmp_path / 'small.png', tmp_path / 'out'
    assert loaded('restore', photo, '-o', out, '--weights', 'absent.pth') == (2, set())
    assert loaded('restore', photo, '-o', out, '--weights', 'absent.pth', '--steps', '0') == (2, set())


@pytest.mark.parametrize('weights', ['realesr-animevideov3.pth', 'realesrgan_x4plus_fp16.pth'])
def test_restoring_with_a_published_generator_loads_torch_alone(data_dir, tmp_path, weights):
    """Neither BasicSR nor spandrel, whose imports take longer than a small photo."""
    from PIL import Image

    Image.new('RGB', (16, 12), 'teal').save(tmp_path / 'small.png')
    code, found = loaded(
        *('restore', tmp_path / 'small.png', '-o', tmp_path / 'out', '--weights', data_dir / 'weights' / weights),
        *('--detector', 'cascade', '--restorer', 'identity', '--device', 'cpu'),
    )
    assert code == 0
    assert found == {'torch'}
    assert Image.open(tmp_path / 'out' / 'small.png').size == (64, 48)


@pytest.mark.parametrize('command', ['meta-info', 'masks', 'lmdb', 'split'])
def test_preparing_lists_and_masks_loads_no_torch(data_dir, tmp_path, command):
    out = tmp_path / {'meta-info': 'list.txt', 'lmdb': 'photos.lmdb'}.get(command, 'out')
    assert loaded('prepare', command, data_dir / 'photos', out) == (0, set())
    assert out.exists()
