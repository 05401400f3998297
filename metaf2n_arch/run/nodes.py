"""Resuming on several nodes, with or without a shared disk: the first process (rank 0) chooses the state for all.

Seen with BasicSR 1.4.2: each process looks for a state by itself. Without a shared disk one node resumes at iteration 7
and another at 1 or at 0. They train with different weights, and then wait for each other forever. Here rank 0 chooses,
and sends the files that others lack.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch.distributed as dist

from metaf2n_arch.run import resume
from metaf2n_arch.run.checkpoint_sets import MODELS, STATES, SetFolders
from metaf2n_arch.run.course import course
from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.utils.files import write_whole
from metaf2n_arch.utils.staging import sha256_of


def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """Returns in all processes what `resume.load_resume_state` returns in the first, and sends the files.

    Raises:
        DataError: the first process cannot resume; all processes raise the same error.
    """
    if opt.get('world_size', 1) == 1:
        return resume.load_resume_state(opt)
    first = opt['rank'] == 0
    state, found = _found_by_first(opt) if first else (None, None)
    found = _from_first(found)
    if 'error' in found:
        raise DataError(found['error'])
    if not found:
        course.resumed = (0, 0)
        return None
    folders = SetFolders.of(opt['path'])
    if not first and found['folder'] is not None:  # path.resume_state may name the folder of another run
        folders = SetFolders(folders.models, Path(found['folder']))
    _send(found['files'], folders, first)
    return state if first else _taken_over(opt, folders, found)


def _found_by_first(opt: dict[str, Any]) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    try:
        state = resume.load_resume_state(opt)
    except DataError as error:
        return None, {'error': str(error)}
    if state is None:
        return None, {}
    own, path = SetFolders.of(opt['path']), Path(opt['path']['resume_state'])
    folders = SetFolders(own.models, path.parent)
    networks = resume.needed_networks(opt, path.stem)
    names = [f'{STATES}/{path.name}', *(f'{MODELS}/{name}' for name in networks)]
    return state, {
        'name': path.name,
        'folder': None if path.parent == own.states else str(path.parent),
        'files': {name: sha256_of(folders.file(name)) for name in names},
        'manifest': course.manifest,
    }


def _send(files: dict[str, str], folders: SetFolders, first: bool) -> None:
    """Sends each file that any process lacks, one by one; a process that has the same file keeps it."""
    mine = [] if first else [name for name, digest in files.items() if not _is_same(folders.file(name), digest)]
    lacking: list[list[str]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(lacking, mine)
    wanted = [name for name in files if any(name in names for names in lacking)]
    if wanted and first:
        print(
            f'{len(wanted)} files of the checkpoint are missing or different on other nodes; they are sent there.',
            flush=True,
        )
    for name in wanted:
        content = _from_first(folders.file(name).read_bytes() if first else None)
        if name in mine:
            write_whole(folders.file(name), content)


def _is_same(file: Path, digest: str) -> bool:
    return file.is_file() and sha256_of(file) == digest


def _taken_over(opt: dict[str, Any], folders: SetFolders, found: dict[str, Any]) -> dict[str, Any]:
    """Reads the state that the first process chose, in this process."""
    path = folders.states / found['name']
    opt['path']['resume_state'] = str(path)
    state = resume.read_state(path)
    course.manifest = found['manifest']
    course.resumed = (state['epoch'], state['iter'])
    resume.point_to_networks(opt, state['iter'])
    return state


def _from_first(value: Any) -> Any:
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]
