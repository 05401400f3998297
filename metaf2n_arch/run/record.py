"""Record of a training: ``run.json`` in its folder holds command, options, versions and times of each start.

Each start (also each resume) adds an entry. ``values.jsonl`` beside it has one line for each line of the log that shows
losses, with all digits. So a report need not parse the log.
"""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.utils.files import write_whole

FILE = 'run.json'
VALUES = 'values.jsonl'
PACKAGES = ('metaf2n-arch', 'basicsr', 'torch', 'torchvision', 'numpy', 'opencv-python')

# The file of the running training.
_state: dict[str, Path] = {}


def begin(folder: Path, opt: Mapping[str, Any], iteration: int) -> None:
    """Adds a start to the record in `folder`.

    Args:
        folder: folder of the experiment.
        opt: all options, as the run uses them.
        iteration: iteration that the run resumes from; 0 for a new one.
    """
    _state['file'] = folder / FILE
    start = {
        'started': _now(),
        'ended': None,
        'from_iteration': iteration,
        'iteration': iteration,
        'command': sys.argv,
        'folder': os.getcwd(),
        'seed': opt.get('manual_seed'),
        'processes': opt.get('world_size', 1),
        'versions': versions(),
        'git': git_state(),
        'options': opt,
    }
    _write({'name': opt['name'], 'starts': [*read(folder).get('starts', []), start]})


def note(iteration: int, ended: bool = False) -> None:
    """Writes the present iteration into the record, and the end time if the training has ended."""
    if 'file' not in _state:
        return
    content = read(_state['file'].parent)
    if content.get('starts'):
        content['starts'][-1].update(iteration=iteration, ended=_now() if ended else None)
        _write(content)


def values(logged: Mapping[str, Any]) -> None:
    """Adds a line to ``values.jsonl``: epoch, iteration, learning rates, times, losses; null if a value is not finite.

    Args:
        logged: the mapping that BasicSR's `MessageLogger` is called with.
    """
    if 'file' not in _state:
        return
    line = {name: list(map(_plain, x)) if isinstance(x, list) else _plain(x) for name, x in logged.items()}
    try:
        with open(_state['file'].with_name(VALUES), 'a', encoding='utf-8') as file:
            file.write(json.dumps(line) + '\n')
    except OSError:  # the record is not worth ending a run for
        return


def _plain(value: Any) -> float | int | None:
    number = value if isinstance(value, int) else float(value)
    return number if math.isfinite(number) else None


def read(folder: Path) -> dict[str, Any]:
    """Returns the record in an experiment's folder; empty if there is none, for example of an earlier version."""
    try:
        content = json.loads((folder / FILE).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def versions() -> dict[str, str]:
    """Returns the versions of Python, the system and the packages that results depend on, and the device."""
    found = {'python': platform.python_version(), 'system': platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    import torch

    found['device'] = torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu'
    return found


def git_state() -> dict[str, Any] | None:
    """Returns the git commit of the working directory and whether files differ from it; None outside a repository."""
    try:
        commit = _git('rev-parse', 'HEAD')
        return {'commit': commit, 'changed': bool(_git('status', '--porcelain', '--untracked-files=no'))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    done = subprocess.run(['git', *arguments], capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def _write(content: dict[str, Any]) -> None:
    """Writes the record. If that fails, the run goes on without a record."""
    try:
        write_whole(_state['file'], json.dumps(content, indent=1, ensure_ascii=False, default=str))
    except DataError:
        _state.clear()


def _now() -> str:
    return time.strftime('%Y-%m-%dT%H:%M:%S%z')
