"""Folders of a run: their paths, and how they are removed again if the run fails before its first iteration."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import shutil
import time
from os import path as osp
from pathlib import Path
from typing import Any

# (folder that this run made, archive that its predecessor was moved to, whether its parent is new); empty once the run
# has begun.
_made: list[tuple[Path, Path | None, bool]] = []
# The folders below which this run writes.
_roots: list[Path] = []


def working_root(root_path: str | os.PathLike[str]) -> Path:
    """Returns the folder for `experiments/`, `results/` and `tb_logger/`.

    BasicSR's scripts pass the parent folder of the package. For an installed package that is site-packages, which is
    replaced by the working directory. Any other root, chosen by another script, is kept.
    """
    import basicsr

    package_parent = Path(basicsr.__file__).resolve().parents[1]
    return Path.cwd() if Path(root_path).resolve() == package_parent else Path(root_path)


def name_folders(opt: dict[str, Any], root: Path, is_train: bool) -> None:
    """Writes the run's folders into ``opt['path']``.

    `path.experiments_root` and `path.results_root` may name others, as in the master branch of BasicSR.
    """
    _roots[:] = [root / name for name in ('experiments', 'results', 'tb_logger')]
    _roots.extend(root / opt['path'][key] for key in ('experiments_root', 'results_root') if opt['path'].get(key))
    if not is_train:
        results = osp.join(root, opt['path'].get('results_root') or 'results', opt['name'])
        opt['path'].update(results_root=results, log=results, visualization=osp.join(results, 'visualization'))
        return
    folder = osp.join(root, opt['path'].get('experiments_root') or 'experiments', opt['name'])
    opt['path'].update(experiments_root=folder, log=folder)
    opt['path'].update({key: osp.join(folder, key) for key in ('models', 'training_states', 'visualization')})
    if 'debug' in opt['name']:
        if opt.get('val') is not None:
            opt['val']['val_freq'] = 8
        opt['logger'].update(print_freq=1, save_checkpoint_freq=8)


def holds(file: str) -> bool:
    """Whether a file is in a folder of this run."""
    return any(root in Path(file).absolute().parents for root in _roots)


def archive_and_make(folder: str | os.PathLike[str], remember: bool = True) -> None:
    """Makes `folder`. A folder that exists there is renamed first.

    Args:
        folder: folder to make.
        remember: whether `take_back` can undo this; only if `has_begun` will be called.
    """
    folder = Path(folder)
    archived = None
    if folder.exists():
        archived = _archive_of(folder)
        print(f'Path already exists. Rename it to {archived}', flush=True)
        folder.rename(archived)
    first_of_parent = not folder.parent.exists()
    folder.mkdir(parents=True)
    if remember:
        _made.append((folder, archived, first_of_parent))


def make_again() -> None:
    """Makes the run's folder again if it was removed, and reopens the log file there."""
    logger = logging.getLogger('basicsr')
    for handler in logger.handlers:
        if not isinstance(handler, logging.FileHandler) or os.path.exists(handler.baseFilename):
            continue
        folder = Path(handler.baseFilename).parent
        folder.mkdir(parents=True, exist_ok=True)
        with handler.lock or contextlib.nullcontext():
            if handler.stream is not None:
                handler.stream.close()
            handler.stream = open(handler.baseFilename, 'w', encoding=handler.encoding)  # noqa: SIM115 - the handler closes it
        logger.warning(f'{folder} was removed during this run. It is made again; earlier checkpoints are lost.')


def _archive_of(folder: Path) -> Path:
    """A new path for the archive of `folder`; a number is added if two archives are made in the same second."""
    name = f'{folder.name}_archived_{time.strftime("%Y%m%d_%H%M%S")}'
    candidates = itertools.chain([name], (f'{name}_{number}' for number in itertools.count(2)))
    return next(path for path in map(folder.with_name, candidates) if not path.exists())


def has_begun() -> None:
    """Records that training or testing has begun; from here on `take_back` removes nothing."""
    _made.clear()


def take_back() -> None:
    """Undoes `archive_and_make` for a run that failed before its first iteration; folders with results are kept."""
    while _made:
        folder, archived, first_of_parent = _made.pop()
        if any(_is_result(file) for file in folder.rglob('*')):
            continue
        shutil.rmtree(folder, ignore_errors=True)
        if archived is not None and archived.exists():
            archived.rename(folder)
        elif first_of_parent and not any(folder.parent.iterdir()):
            folder.parent.rmdir()


def _is_result(file: Path) -> bool:
    only_a_record = file.suffix in ('.log', '.yml', '.yaml') or 'tfevents' in file.name or file.name == 'run.json'
    return file.is_file() and not only_a_record
