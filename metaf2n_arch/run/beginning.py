"""The beginning of a training: the folder is locked, and what to go on from is found, before anything is moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metaf2n_arch.run import resume
from metaf2n_arch.run.checkpoint_sets import SetFolders
from metaf2n_arch.run.course import course
from metaf2n_arch.run.lock import lock_folder
from metaf2n_arch.run.saving import SetSaver
from metaf2n_arch.utils.staging import sweep


def begin(opt: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the state to resume from, or None; see `resume.load_resume_state`.

    Raises:
        DataError: another run writes into the folder, or no state is whole.
    """
    folders = SetFolders.of(opt['path'])
    if opt.get('rank', 0) == 0:
        lock_folder(Path(opt['path'].get('experiments_root') or folders.states.parent))
        for folder in (folders.models, folders.states, folders.manifests):
            sweep(folder)
    state = resume.load_resume_state(opt)
    course.checkpoints = SetSaver(folders, bool((opt.get('logger') or {}).get('save_in_background')))
    return state
