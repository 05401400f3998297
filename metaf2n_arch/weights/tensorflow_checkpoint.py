"""TensorFlow checkpoints (of its Saver), read as NumPy arrays in a separate process.

TensorFlow and Triton each contain LLVM, and a process that loads both crashes without a Python error. The separate
process also keeps the logging, threads and memory of TensorFlow out of ours.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from metaf2n_arch.utils.checks import DataError, OptionError
from metaf2n_arch.utils.extras import install_command

# Suffixes of the files of a Saver, after the name of the checkpoint.
_PARTS = re.compile(r'\.(index|meta|data-\d{5}-of-\d{5})$')

Tensors = dict[str, np.ndarray]
Reader = Callable[[Path, str], tuple[Tensors, list[str]]]
"""(checkpoint, pattern) -> arrays of the variables whose names match the pattern, and the names of all others."""


def find_checkpoint(path: str | Path) -> Path:
    """Returns the path of a checkpoint, without the suffixes of its files.

    Args:
        path: this path, or one of its files, or their folder. In a folder, the newest checkpoint by the file
            ``checkpoint`` is taken, or the only one.

    Raises:
        DataError: there is no checkpoint, or there are several.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return _in_folder(path)
    path = path.with_name(_PARTS.sub('', path.name))
    if path.is_file() or path.with_name(f'{path.name}.index').is_file():
        return path
    raise DataError(f'{path}: no TensorFlow checkpoint; expected the files {path.name}.index and {path.name}.data-*.')


def _in_folder(folder: Path) -> Path:
    names = sorted(file.name.removesuffix('.index') for file in folder.glob('*.index'))
    try:
        listed = (folder / 'checkpoint').read_text(encoding='utf-8', errors='replace')
    except OSError:
        listed = ''
    newest = re.search(r'^model_checkpoint_path:\s*"([^"]+)"', listed, re.MULTILINE)
    # The file may contain the full path on the machine of the training.
    name = re.split(r'[/\\]', newest[1])[-1] if newest else None
    if name in names:
        return folder / str(name)
    if len(names) == 1:
        return folder / names[0]
    if not names:
        raise DataError(f'{folder} holds no TensorFlow checkpoint; expected the files NAME.index and NAME.data-*.')
    several = f'{len(names)} TensorFlow checkpoints ({", ".join(names[:3])})'
    raise DataError(f'{folder} holds {several}; name one, without its suffix .index.')


def read_tensors(checkpoint: Path, pattern: str) -> tuple[Tensors, list[str]]:
    """Reads the variables whose names match a regular expression (`re.match`); a `Reader`.

    Raises:
        OptionError: TensorFlow is not installed.
        DataError: the files are damaged or incomplete.
    """
    if importlib.util.find_spec('tensorflow') is None:
        raise OptionError(f'reading a TensorFlow checkpoint needs TensorFlow; run: {install_command("tensorflow")}')
    with tempfile.TemporaryDirectory(prefix='metaf2n_tensorflow_') as place:
        target = Path(place) / 'tensors.npz'
        command = [sys.executable, '-m', __name__, str(checkpoint.absolute()), pattern, str(target)]
        done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode or not target.is_file():
            raise DataError(f'{checkpoint}: TensorFlow cannot read it ({_last_words(done)}).')
        with np.load(target) as file:
            names, others = file['names'].tolist(), file['others'].tolist()
            return {name: file[f'tensor{number}'] for number, name in enumerate(names)}, others


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return f'{lines[-1][:200]}' if lines else f'its process ended with {done.returncode}'


def _main(checkpoint: str, pattern: str, target: str) -> None:
    """Runs in the separate process: reads the checkpoint with TensorFlow and writes the arrays to `target` (.npz)."""
    from tensorflow.train import load_checkpoint

    reader = load_checkpoint(checkpoint)
    known = sorted(reader.get_variable_to_shape_map())
    names = [name for name in known if re.match(pattern, name)]
    arrays = {f'tensor{number}': reader.get_tensor(name) for number, name in enumerate(names)}
    others = [name for name in known if name not in set(names)]
    np.savez(target, names=np.array(names, str), others=np.array(others, str), **arrays)


if __name__ == '__main__':
    _main(*sys.argv[1:])
