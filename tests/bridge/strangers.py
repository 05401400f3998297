"""Small projects of other people, as tests write them: a launcher, a copy of the host, parts of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

LAUNCHER = """
import os
import sys
{imports}
from basicsr.train import train_pipeline

if __name__ == '__main__':
    train_pipeline(os.getcwd())
"""

# What a user without us needs on a new torchvision; the oracle of what the bridge must not change.
STAND_IN = """
import importlib.machinery
import sys

NAME = 'torchvision.transforms.functional_tensor'


class Finder:
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name == NAME else None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        from torchvision.transforms import _functional_tensor as successor

        module.rgb_to_grayscale = successor.rgb_to_grayscale


sys.meta_path.append(Finder())
"""


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `python <arguments>` in `folder` as a stranger does, who has never heard of us."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith('METAF2N_')}
    env = {**kept, 'OMP_NUM_THREADS': '1', **environment}
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=env, capture_output=True, text=True)


def without_us(folder: Path) -> dict[str, str]:
    """The environment in which the host alone runs."""
    stand_in = folder / 'stand_in'
    stand_in.mkdir(exist_ok=True)
    (stand_in / 'sitecustomize.py').write_text(STAND_IN)
    return {'METAF2N_BRIDGE': '0', 'PYTHONPATH': os.pathsep.join([str(stand_in), os.environ.get('PYTHONPATH', '')])}


def write(folder: Path, files: Mapping[str, str]) -> Path:
    """Writes a project's files."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def files(folder: Path) -> set[str]:
    """What a run has left, without the times in its names."""
    found = (f.relative_to(folder).as_posix() for f in folder.rglob('*') if f.is_file())
    return {'train.log' if '.log' in name else name for name in found}
