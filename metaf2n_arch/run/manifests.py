"""Manifests of checkpoint sets: the files of a set, the hash of each, and the options they were made with.

A manifest is ``manifests/<iteration>.json`` beside the folders ``models`` and ``training_states``. It is written last,
so that a set with a manifest is complete. Names and content of the other files are those of BasicSR; programs that do
not know manifests can read them.

    {"format": "metaf2n checkpoint set", "iteration": 8, "epoch": 2, "complete": true,
     "files": {"models/net_g_8.pth": {"bytes": 41234, "sha256": ["6b2f..."]}, "training_states/8.state": {...}},
     "made_with": {"options": {...}, "versions": {...}}, "own_sha256": "09ab..."}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.utils.staging import Staged, stage

FORMAT = 'metaf2n checkpoint set'
FOLDER = 'manifests'
LATEST = 'latest'

Label = int | str
"""An iteration, or `LATEST` for the networks that the end of a training writes."""


@dataclass(frozen=True)
class Record:
    """Length and hash of one file of a set.

    Attributes:
        bytes: length of the file.
        sha256: its hash. While the file is being replaced there are two hashes, of the old file and the new one.
    """

    bytes: int
    sha256: tuple[str, ...]

    @classmethod
    def of(cls, staged: Staged) -> Record:
        return cls(staged.size, (staged.sha256,))


@dataclass(frozen=True)
class Manifest:
    """The manifest of one checkpoint set.

    Attributes:
        iteration: iteration, or `LATEST`.
        epoch: epoch of that iteration.
        files: ``<folder>/<name>`` -> record; the folder is ``models`` or ``training_states``.
        complete: False while the files of a set are being replaced by others.
        made_with: options that decide the result, and versions; see `run.made_with.describe`.
    """

    iteration: Label
    epoch: int = 0
    files: Mapping[str, Record] = field(default_factory=dict)
    complete: bool = True
    made_with: Mapping[str, Any] = field(default_factory=dict)

    def text(self) -> str:
        """The JSON text, with its own hash."""
        content = {'format': FORMAT, **asdict(self)}
        return json.dumps({**content, 'own_sha256': _hash(content)}, indent=1, ensure_ascii=False) + '\n'

    def open(self) -> Manifest:
        """The manifest that marks this set as being replaced."""
        return replace(self, complete=False, files={}, made_with={})


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def manifest_file(folder: Path, label: Label) -> Path:
    return folder / f'{label}.json'


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes a manifest atomically, and flushes it to the disk.

    Raises:
        DataError: it cannot be written; a former manifest is unchanged.
    """
    text = manifest.text().encode()
    stage(manifest_file(folder, manifest.iteration), lambda file: file.write(text)).publish()


def read_manifest(folder: Path, label: Label) -> Manifest | None:
    """Returns the manifest of a set, or None if it has none.

    Raises:
        DataError: it is damaged, or belongs to another iteration.
    """
    path = manifest_file(folder, label)
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_bytes())
        own = content.pop('own_sha256')
        files = {name: Record(r['bytes'], tuple(r['sha256'])) for name, r in content['files'].items()}
        manifest = Manifest(**{**{k: v for k, v in content.items() if k != 'format'}, 'files': files})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f'{path}: is damaged, it is not a manifest of a checkpoint set.') from None
    if content.get('format') != FORMAT or own != _hash(content):
        raise DataError(f'{path}: is damaged, its content does not match its hash.')
    if manifest.iteration != label:
        raise DataError(f'{path}: is the manifest of iteration {manifest.iteration}, not of {label}.')
    return manifest
