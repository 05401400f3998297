"""`metaf2n doctor`: what it says of packages, weights and devices, and its exit code."""

from __future__ import annotations

import importlib.metadata
import inspect
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from metaf2n_arch.bridge.table import brief
from metaf2n_arch.cli.main import app
from metaf2n_arch.cli.restore import restore
from metaf2n_arch.cli.web import web
from metaf2n_arch.doctor import commands, machine, software
from metaf2n_arch.weights.needs import needs_of_photos
from metaf2n_arch.weights.search import table


@pytest.fixture
def children(monkeypatch):
    """What the two child processes print, instead of importing torch and BasicSR."""
    programs = {
        'metaf2n_arch.doctor.machine': 'print(\'{"threads": 3, "built": null, "gpus": []}\')',
        'metaf2n_arch.bridge': "print('on; all well')",
    }
    begin = machine.subprocess.Popen

    def start(command, **options):
        return begin([sys.executable, '-S', '-c', programs[command[2]]], **options)

    monkeypatch.setattr(machine.subprocess, 'Popen', start)
    return programs


@pytest.fixture
def no_weights(monkeypatch, tmp_path) -> Path:
    """A search path without a single weights file; the folder that is looked into first."""
    monkeypatch.setattr('metaf2n_arch.weights.search.folders', lambda: iter([tmp_path / 'weights']))
    monkeypatch.setattr('metaf2n_arch.doctor.screen.folders', lambda: iter([tmp_path / 'weights']))
    (tmp_path / 'weights').mkdir()
    return tmp_path / 'weights'


def run(*arguments: str):
    return CliRunner().invoke(app, ['doctor', *arguments])


def test_the_screen_is_one_that_people_can_paste(children, no_weights):
    done = run()
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert len(lines) <= 40
    assert f'torch {importlib.metadata.version("torch")}' in done.stdout
    assert f'Python {sys.version.split()[0]}' in lines[0]
    assert 'devices:  cpu (3 threads); this torch is built for CPUs only' in lines
    assert 'bridge:   on; all well' in lines
    assert lines[-1] == 'problems: none'
    assert '\x1b' not in done.stdout


def test_what_restoring_lacks_is_named_with_the_command_that_gets_it(children, no_weights):
    done = run('restore')
    assert done.exit_code == 1
    wanted = next(line for line in done.stdout.splitlines() if line.startswith('  restore: '))
    assert 'metaf2n weights fetch realesrgan_x4plus retinaface_resnet50 gpen_bfr_512' in wanted
    for name in ('realesrgan_x4plus', 'retinaface_resnet50', 'gpen_bfr_512'):
        (no_weights / table()[name].file).write_bytes(b'any')
    done = run('restore')
    assert done.exit_code == 0
    assert 'realesrgan_x4plus (another file of that name)' in done.stdout
    assert 'restore' in next(line for line in done.stdout.splitlines() if line.startswith('can run:'))


def test_an_option_file_is_a_command_too(children, no_weights):
    done = run('train_metaf2n_ssl.yml')
    assert done.exit_code == 1
    assert '  train_metaf2n_ssl.yml: metaf2n weights fetch realesrgan_x4plus realesrgan_x4plus_netd' in done.stdout
    assert run('demo_metaf2n_ssl.yml').exit_code == 0  # needs none


def test_unknown_commands_and_broken_software_are_told(children, no_weights, monkeypatch):
    assert "Did you mean 'restore'?" in str(run('restor').exception)
    children['metaf2n_arch.doctor.machine'] = 'raise ImportError("libtorch is damaged")'
    done = run()
    assert done.exit_code == 1
    assert 'torch cannot be imported: ImportError: libtorch is damaged' in done.stdout
    monkeypatch.setattr(software, 'version', lambda name: None if name == 'tifffile' else '0.0.1')
    assert 'tifffile is not installed; run: pip install "tifffile>=' in run().stdout


def test_versions_are_compared_as_pip_does(monkeypatch):
    """Oracle: this environment, which pip has put together, and requirements that it does not meet."""
    assert software.problems() == []
    lines = ['pydantic>=2', 'numpy<1.0', 'pytest>=999; extra == "test"', 'pyiqa>=0', 'no-such-thing>=3']
    monkeypatch.setattr(importlib.metadata, 'requires', lambda name: lines)
    assert software.problems() == [
        f'numpy is {importlib.metadata.version("numpy")}, but <1.0 is needed; run: pip install "numpy<1.0"',
        'no-such-thing is not installed; run: pip install "no-such-thing>=3"',
    ]


def test_its_weights_are_the_defaults_of_the_commands():
    for command in (restore, web):
        default = {name: value.default for name, value in inspect.signature(command).parameters.items()}
        needed = needs_of_photos(default['weights'], None, default['detector'], default['restorer'] or 'gpen')
        assert set(commands.PHOTOS) == set(needed)


def test_devices_are_those_of_torch():
    seen = machine.look()
    assert seen['threads'] == torch.get_num_threads()
    cuda = [line for line in seen['gpus'] if line.startswith('cuda:')]
    assert len(cuda) == (torch.cuda.device_count() if torch.cuda.is_available() else 0)
    assert machine.devices({'threads': 1, 'built': 'CUDA 12.6', 'gpus': ['cuda:0 X']}) == ['cuda:0 X', 'cpu (1 thread)']


def test_the_bridge_counts_its_repairs():
    import basicsr.train  # noqa: F401  every module that is repaired

    well, line = brief()
    assert well
    assert 'for every run' in line


@pytest.mark.slow
def test_the_whole_of_it_without_stand_ins():
    done = run()
    assert 'threads)' in done.stdout or 'thread)' in done.stdout
    assert 'bridge:   on; repairs applied:' in done.stdout
