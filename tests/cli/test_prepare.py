"""`metaf2n prepare`: what the commands print, write and return."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from metaf2n_arch.cli.main import app
from metaf2n_arch.images.writing import write_image
from metaf2n_arch.utils.checks import DataError, OptionError


@pytest.fixture
def photos(tmp_path: Path, astronaut: np.ndarray) -> Path:
    folder = tmp_path / 'photos'
    folder.mkdir()
    write_image(folder / 'a.png', astronaut)
    write_image(folder / 'b.png', astronaut[:, ::-1])
    (folder / 'bad.jpg').write_bytes(b'\xff\xd8\xff')
    return folder


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ['prepare', *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


COMMANDS = {
    'multiscale': ['aT0.png', 'bT3.png'],
    'crops': ['a_s001.png', 'b_s001.png'],
    'masks': ['a.png', 'b.png'],
    'degrade': ['GT/a.png', 'LQ/b.png', 'degradation/a.json'],
    'lmdb': ['data.mdb', 'meta_info.txt'],
    'split': ['train.txt', 'val.txt'],
}


@pytest.mark.parametrize('command', COMMANDS)
def test_each_command_does_the_good_images_and_lists_the_bad_one(command, photos, tmp_path):
    out = tmp_path / ('out.lmdb' if command == 'lmdb' else 'out')
    extra = ['--val', '1'] if command == 'split' else []
    code, output = run(command, photos, out, *extra, '--dry-run')
    assert code == 0
    assert '2 images would be done' in output
    assert not out.exists()
    code, output = run(command, photos, out, *extra)
    assert code == 0, output
    assert '2 images done' in output
    assert 'skipped: ' in output
    assert 'bad.jpg' in output
    assert all((out / file).is_file() for file in COMMANDS[command])


def test_a_meta_info_file_is_written(photos, tmp_path):
    assert run('meta-info', photos, tmp_path / 'lists' / 'all.txt', '--decode')[0] == 0
    assert (tmp_path / 'lists' / 'all.txt').read_text() == 'a.png (512,512,3)\nb.png (512,512,3)\n'


def test_faces_are_aligned_to_each_size(data_dir, tmp_path):
    weights = data_dir / 'weights' / 'face_detection_yunet_2023mar.onnx'
    arguments = ['--detector', 'yunet', '--weights', weights, '--min-ratio', '0', '--size', '64', '--size', '128']
    code, output = run('align', data_dir / 'photos', tmp_path / 'out', *arguments)
    assert code == 0
    assert 'realesrgan_no_face_448x640.png shows no face' in output
    assert len(list((tmp_path / 'out' / '64').glob('*.png'))) == len(list((tmp_path / 'out' / '128').glob('*.png'))) > 8


def test_faces_become_a_test_set(data_dir, tmp_path):
    weights = data_dir / 'weights' / 'face_detection_yunet_2023mar.onnx'
    arguments = ['--detector', 'yunet', '--weights', weights, '--restorer', 'identity']
    code, output = run('faces', data_dir / 'photos', tmp_path / 'out', *arguments)
    assert code == 0
    assert '5 images, ' in output
    assert '  without a face: realesrgan_no_face_448x640.png' in output
    assert (tmp_path / 'out' / 'Face_HQ' / 'codeformer_one_face_400x225_0.png').is_file()
    one, name = tmp_path / 'one', 'codeformer_one_face_400x225.jpg'
    one.mkdir()
    (one / name).write_bytes((data_dir / 'photos' / name).read_bytes())
    assert run('faces', one, '-o', tmp_path / 'option', *arguments)[0] == 0
    assert (tmp_path / 'option' / 'Face_HQ' / 'codeformer_one_face_400x225_0.png').is_file()
    assert run('faces', one, *arguments)[0] == 2


def test_nothing_done_is_a_failure(tmp_path):
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'photos' / 'bad.png').write_bytes(b'no image')
    code, output = run('masks', tmp_path / 'photos', tmp_path / 'out')
    assert code == 1
    assert 'cannot be read' in output


def test_mistakes_are_one_line(photos, tmp_path):
    with pytest.raises(OptionError, match=r"family is 'odd'.*Did you mean 'ood'"):
        run('degrade', photos, tmp_path / 'out', '--family', 'odd')
    with pytest.raises(DataError, match='is not a folder'):
        run('masks', tmp_path / 'missing', tmp_path / 'out')
    with pytest.raises(OptionError, match='finds no landmarks'):
        run('align', photos, tmp_path / 'out', '--detector', 'cascade')


def test_help_loads_neither_torch_nor_basicsr():
    code = (
        'import sys; from metaf2n_arch.cli.main import app\n'
        'try: app(["prepare", "degrade", "--help"])\n'
        'except SystemExit: pass\n'
        'print([m for m in ("torch", "basicsr", "numpy", "cv2") if m in sys.modules])'
    )
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert run.stdout.strip().endswith('[]')
