"""Published weights that must be on this machine already: found, or one line saying which file goes where."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.weights.download import checksum
from metaf2n_arch.weights.files import load_state_dict

REPLACE = 'Replace it by the published file.'


def checkpoint_folders() -> list[Path]:
    """Where torch's and pyiqa's own downloads end up: ``$TORCH_HOME/hub/checkpoints`` and ``$TORCH_HOME/hub/pyiqa``."""
    hub = Path(torch.hub.get_dir())
    return [hub / 'checkpoints', hub / 'pyiqa']


def find_weights(
    filename: str, url: str, sha256_prefix: str = '', folders: Iterable[Path] | None = None, what: str = 'weights'
) -> Path:
    """Returns the path of a published weights file that must be on this machine already; nothing is downloaded.

    Args:
        filename: its published name.
        url: where it is published.
        sha256_prefix: first digits of its SHA-256, if known; shown to the user, not verified here.
        folders: where to look, in order; `checkpoint_folders()` by default.
        what: what needs the file, for the message.

    Raises:
        DataError: if no folder holds it: the file, the folder, the address and the checksum in one line.
    """
    folders = list(checkpoint_folders() if folders is None else folders)
    for folder in folders:
        if (folder / filename).is_file():
            return folder / filename
    checksum = f', SHA-256 starting with {sha256_prefix}' if sha256_prefix else ''
    also = f' (also looked in {", ".join(map(str, folders[1:]))})' if folders[1:] else ''
    raise DataError(
        f'{what} needs the file {filename}: put it into {folders[0]}{also}. It is published at {url}{checksum}.'
    )


def read_weights(path: Path, sha256_prefix: str = '') -> dict[str, Tensor]:
    """Returns the state dict that a .pth file is; nothing but tensors is ever unpickled.

    Raises:
        DataError: if the file is damaged or holds something else, with its checksum beside the expected one.
    """
    try:
        return load_state_dict(path, None)
    except DataError as error:
        digest = checksum(path)[: max(8, len(sha256_prefix))]
        expected = f', expected {sha256_prefix}' if sha256_prefix else ''
        raise DataError(f'{error} Its SHA-256 starts with {digest}{expected}. Delete it and fetch it again.') from None


def select_weights(
    state: dict[str, Tensor], wanted: dict[str, tuple[str, torch.Size]], path: Path
) -> dict[str, Tensor]:
    """Returns the tensors of `state` under new names, each checked.

    Args:
        state: what the file holds.
        wanted: new name -> (name in the file, expected shape).
        path: the file, for the message.

    Raises:
        DataError: naming the first tensor that is missing or has another shape.
    """
    for source, shape in wanted.values():
        if source not in state:
            raise DataError(f'{path} holds no tensor {source!r}, so it belongs to another network. {REPLACE}')
        if state[source].shape != shape:
            found = tuple(state[source].shape)
            raise DataError(f'{path}: {source!r} has shape {found}, expected {tuple(shape)}. {REPLACE}')
    return {name: state[source] for name, (source, _) in wanted.items()}
