"""What a wheel and an editable wheel hold: the start-up file at the top of site-packages, the option files inside."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import shutil
import subprocess
import sys
import zipfile

import pytest

NEEDED = ('setup.py', 'pyproject.toml', 'requirements.txt', 'README.md', 'LICENSE', 'MANIFEST.in')


@pytest.fixture(scope='module')
def wheels(root, tmp_path_factory):
    """Both wheels, built through setuptools' own entry points from a copy of the tree."""
    pytest.importorskip('setuptools', minversion='70.1', reason='building a wheel offline needs setuptools 70.1')
    copy = tmp_path_factory.mktemp('tree')
    for name in NEEDED:
        shutil.copy(root / name, copy)
    for name in ('metaf2n_arch', 'options'):
        shutil.copytree(root / name, copy / name, ignore=shutil.ignore_patterns('__pycache__'))
    program = (
        'from setuptools import build_meta\n'
        'for build, folder in ((build_meta.build_wheel, "plain"), (build_meta.build_editable, "editable")):\n'
        '    build(folder)\n'
    )
    for name in ('plain', 'editable'):
        (copy / name).mkdir()
    done = subprocess.run([sys.executable, '-c', program], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {name: zipfile.ZipFile(next((copy / name).glob('*.whl'))) for name in ('plain', 'editable')}


@pytest.mark.parametrize('kind', ['plain', 'editable'])
def test_startup_file_is_at_the_root_and_every_file_is_on_record(wheels, root, kind):
    wheel = wheels[kind]
    startup = (root / 'metaf2n_arch' / 'bridge' / 'metaf2n_bridge.pth').read_bytes()
    assert wheel.read('metaf2n_bridge.pth') == startup
    assert startup.count(b'\n') == 1, 'each line of a .pth file is executed by itself'
    record = next(name for name in wheel.namelist() if name.endswith('.dist-info/RECORD'))
    rows = {row[0]: row[1:] for row in csv.reader(io.StringIO(wheel.read(record).decode()))}
    assert set(rows) == set(wheel.namelist()), 'what is not on record is not uninstalled'
    for name, (digest, size) in rows.items():
        if name != record:
            data = wheel.read(name)
            expected = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()
            assert (digest, size) == (f'sha256={expected}', str(len(data))), name


def test_wheel_holds_all_modules_and_option_files(wheels, root):
    names = set(wheels['plain'].namelist())
    for folder, pattern in (('metaf2n_arch', '*.py'), ('options', '*.yml')):
        for file in (root / folder).rglob(pattern):
            inside = file.relative_to(root).as_posix()
            assert (inside if folder == 'metaf2n_arch' else f'metaf2n_arch/{inside}') in names
    assert 'metaf2n_arch/py.typed' in names, 'without it the annotations do not count for others'
    assert not [name for name in names if name.startswith(('tests', 'options', 'datasets'))]


def test_editable_wheel_points_at_the_tree_and_holds_no_copy(wheels):
    names = wheels['editable'].namelist()
    assert not [name for name in names if name.endswith('.py')], 'a plain path file, no finder'
