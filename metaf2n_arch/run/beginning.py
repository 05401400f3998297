"""Beginning of a training: locks the folder and finds the state to resume from, before any folder is moved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metaf2n_arch.run import made_with, nodes, processes
from metaf2n_arch.run.checkpoint_sets import SetFolders
from metaf2n_arch.run.course import course
from metaf2n_arch.run.lock import lock_folder
from metaf2n_arch.run.saving import SetSaver
from metaf2n_arch.run.unreadable import Unreadable
from metaf2n_arch.utils.staging import sweep


def begin(opt: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the state to resume from, or None; see `nodes.load_resume_state`.

    Raises:
        DataError: another run writes into the folder, or there are states but none is complete.
    """
    folders = SetFolders.of(opt['path'])
    if opt.get('rank', 0) == 0:
        lock_folder(Path(opt['path'].get('experiments_root') or folders.states.parent))
        for folder in (folders.models, folders.states, folders.manifests):
            sweep(folder)
    course.unreadable = Unreadable(Path(opt['path'].get('experiments_root') or folders.states.parent))
    state = nodes.load_resume_state(opt)
    course.checkpoints = SetSaver(folders, bool((opt.get('logger') or {}).get('save_in_background')))
    if state is not None and course.manifest is not None:
        _keep_drawn_seed(opt, course.manifest.made_with)
    course.checkpoints.made_with = made_with.describe(opt)
    return state


def _keep_drawn_seed(opt: dict[str, Any], then: Mapping[str, Any]) -> None:
    """Keeps the checkpoint's seed if the option file gives none; else each start would draw another seed."""
    seed = then.get('options', {}).get('manual_seed')
    if course.seed_is_drawn and isinstance(seed, int):
        print(f'manual_seed is not given; {seed}, the seed of the checkpoint, is kept.', flush=True)
        processes.seed_all(opt, seed)
