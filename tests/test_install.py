"""The installer: what it asks pip for, and the old meaning of `locals` that BasicSR's build needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from metaf2n_arch import install

SETUP = """
def get_version():
    exec(compile("__version__ = '1.4.2'", 'version.py', 'exec'))
    return locals()['__version__']


print(get_version())
"""


def test_a_setup_script_finds_with_locals_what_exec_has_set(tmp_path):
    """Oracle: Python 3.12 and older do so by themselves; 3.13 does not."""
    (tmp_path / 'sitecustomize.py').write_text(install.OLD_LOCALS)
    (tmp_path / 'setup.py').write_text(SETUP)
    plain = subprocess.run([sys.executable, 'setup.py'], cwd=tmp_path, capture_output=True, text=True)
    assert (plain.returncode == 0) == (sys.version_info < (3, 13))
    environment = {'PYTHONPATH': str(tmp_path)}
    helped = subprocess.run([sys.executable, 'setup.py'], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert helped.stdout == '1.4.2\n', helped.stderr


def test_other_code_keeps_its_own_exec_and_locals(tmp_path):
    (tmp_path / 'sitecustomize.py').write_text(install.OLD_LOCALS)
    code = (
        'def f(x):\n    exec("x = 2")\n    return locals()\n'
        'def build():\n    exec("z = 4", locals())\nbuild()\n'  # as setuptools runs a setup script
        'space = {}\nexec("y = 3", space)\nprint(f(1)["x"], space["y"], sorted(f(1)))'
    )
    run = [
        subprocess.run([sys.executable, '-c', code], env=env, capture_output=True, text=True, check=True).stdout
        for env in ({}, {'PYTHONPATH': str(tmp_path)})
    ]
    assert run[0].split()[1:] == run[1].split()[1:] == ['3', "['x']"]


@pytest.fixture
def asked(monkeypatch):
    """What the installer asks pip for, instead of doing it."""
    monkeypatch.setattr(install, 'ROOT', Path(__file__).resolve().parents[1])  # the source, not where it is installed
    calls: list[tuple[tuple[str, ...], dict[str, str]]] = []
    monkeypatch.setattr(install, 'pip', lambda *arguments, **environment: calls.append((arguments, environment)))
    return calls


def names(arguments: tuple[str, ...]) -> set[str]:
    return {install.name_of(argument) for argument in arguments}


def test_pytorch_comes_first_then_basicsr_is_built_beside_it(asked, monkeypatch):
    monkeypatch.setattr(install, 'is_installed', lambda name: False)
    install.main(['--editable', 'test'])
    (first, _), (host, environment), (package, _), (pyiqa, _), (rest, _) = asked
    assert names(first) >= {'pip', 'torch', 'torchvision', 'numpy', 'cython'}
    assert host == ('--no-build-isolation', '--no-deps', 'basicsr>=1.4.2')
    assert ('PYTHONPATH' in environment) == (sys.version_info >= (3, 13))
    assert package == ('--no-deps', '--editable', str(install.ROOT))
    assert pyiqa == ('--no-deps', 'pyiqa>=0.1.10')
    assert names(rest) >= {'basicsr', 'pydantic', 'pytest', 'timm'}  # ours, of the extra, of pyiqa


def test_there_is_one_opencv(asked):
    install.main([])
    assert 'opencv-python' in names(asked[-1][0])
    assert not any('headless' in argument for arguments, _ in asked for argument in arguments)


def test_light_leaves_pyiqa_and_its_language_models_out(asked):
    install.main(['--light'])
    asked_for = {name for arguments, _ in asked for name in names(arguments)}
    assert not asked_for & {'pyiqa', 'transformers', 'bitsandbytes', 'datasets'}
    assert asked_for >= {'lpips', 'gfpgan', 'facexlib', 'typer'}


def test_a_basicsr_that_is_there_is_not_built_again(asked, monkeypatch):
    monkeypatch.setattr(install, 'is_installed', lambda name: name == 'basicsr')
    install.main([])
    assert not any('--no-build-isolation' in arguments for arguments, _ in asked)
