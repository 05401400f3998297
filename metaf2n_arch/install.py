"""Installer: `python -m metaf2n_arch.install` installs the package and its dependencies into this interpreter.

`pip install .` does the same on Python 3.10 to 3.12, but slower, and with more than is needed:

- BasicSR is published as source only, and building it downloads a second PyTorch. On Python 3.13 and newer the build
  fails: its `setup.py` reads through `locals` a name that `exec` has set, which PEP 667 ended. This installer first
  installs PyTorch, builds BasicSR with it, and gives `setup.py` the old behaviour of `locals`.
- pyiqa requires opencv-python-headless, which writes into the same folder as opencv-python, required by BasicSR and
  facexlib. This installer leaves it out.

Run it in a copy of the source: ``python -m metaf2n_arch.install [--editable] [--light] [EXTRA ...]``.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD_TOOLS = ['pip>=23.1', 'setuptools>=69', 'wheel', 'cython', 'packaging']
FIRST = ('torch', 'torchvision', 'numpy')

# Only for the build of BasicSR: inside its setup.py, `locals` sees the names that `exec` has set, as before PEP 667.
OLD_LOCALS = """
import builtins
import sys

run, names = builtins.exec, {}


def exec(code, *namespaces, **further):
    frame = sys._getframe(1)
    if namespaces or further or not frame.f_code.co_filename.endswith("setup.py"):
        return run(code, *(namespaces or (frame.f_globals, frame.f_locals)), **further)
    run(code, frame.f_globals, names)


def locals():
    frame = sys._getframe(1)
    inside = frame.f_code.co_filename.endswith("setup.py")
    if inside:
        return {**names, **frame.f_locals}
    # In a function f_locals is a proxy since PEP 667, and setuptools hands locals() to exec, which wants a dict.
    return frame.f_locals if isinstance(frame.f_locals, dict) else dict(frame.f_locals)


builtins.exec, builtins.locals = exec, locals
"""


def main(arguments: list[str] | None = None) -> None:
    """Installs the package; see ``--help``."""
    parser = argparse.ArgumentParser(prog='python -m metaf2n_arch.install', description=install.__doc__)
    parser.add_argument('extras', nargs='*', metavar='EXTRA', help='optional parts, for example: test web docs')
    parser.add_argument('-e', '--editable', action='store_true', help='use the source where it is, for developers')
    parser.add_argument(
        '--light', action='store_true', help='leave out pyiqa and the language models it needs, so no metrics of pyiqa'
    )
    options = parser.parse_args(arguments)
    if not (ROOT / 'requirements.txt').is_file():
        parser.error('requirements.txt is missing here; run this command in a copy of the source.')
    install(options.extras, options.editable, options.light)


def install(extras: list[str], editable: bool, light: bool) -> None:
    """Install MetaF2N for BasicSR and its dependencies: PyTorch first, and only one OpenCV package."""
    lines = (ROOT / 'requirements.txt').read_text(encoding='utf-8').splitlines()
    needed = {name_of(line): line for line in lines if line and not line.startswith('#')}
    pip(*BUILD_TOOLS, *(needed[name] for name in FIRST))
    if not is_installed('basicsr'):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, 'sitecustomize.py').write_text(OLD_LOCALS, encoding='utf-8')
            environment = {'PYTHONPATH': folder} if sys.version_info >= (3, 13) else {}
            pip('--no-build-isolation', '--no-deps', needed['basicsr'], **environment)
    pip('--no-deps', *(['--editable'] if editable else []), str(ROOT))
    wanted = [line for line in requirements('metaf2n-arch', extras) if name_of(line) != 'pyiqa']
    if not light:
        pip('--no-deps', needed['pyiqa'])
        wanted += [line for line in requirements('pyiqa') if name_of(line) != 'opencv-python-headless']
    pip(*wanted)


def name_of(requirement: str) -> str:
    """Returns the name of the distribution in a line of requirements, in lower case.

    >>> name_of('torch>=2.4'), name_of('Pillow')
    ('torch', 'pillow')
    """
    return re.split(r'[^A-Za-z0-9_.-]', requirement.strip())[0].lower()


def requirements(distribution: str, extras: list[str] | None = None) -> list[str]:
    """Returns the requirements of an installed distribution and of its extras that apply to this interpreter."""
    importlib.invalidate_caches()  # pip has installed packages since this program began
    from packaging.requirements import Requirement

    lines = [Requirement(line) for line in importlib.metadata.requires(distribution) or []]
    environments = [{'extra': extra} for extra in ('', *(extras or []))]
    kept = [line for line in lines if line.marker is None or any(line.marker.evaluate(e) for e in environments)]
    return [f'{line.name}{"[" + ",".join(line.extras) + "]" if line.extras else ""}{line.specifier}' for line in kept]


def is_installed(distribution: str) -> bool:
    """Whether a distribution is installed in this interpreter."""
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def pip(*arguments: str, **environment: str) -> None:
    """Runs ``pip install`` of this interpreter; if it fails, exits with its exit code."""
    command = [sys.executable, '-m', 'pip', 'install', *arguments]
    print('+', ' '.join(command[2:]), flush=True)
    run = subprocess.run(command, env={**os.environ, **environment})
    if run.returncode:
        raise SystemExit(run.returncode)


if __name__ == '__main__':
    main()
