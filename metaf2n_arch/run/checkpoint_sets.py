"""Checkpoint sets: the networks and the training state of one iteration, committed together and checked when read.

A file of a set can be damaged on the disk, or replaced by the file of another iteration, and still be read without an
error; the resumed training would then silently differ. So each set ends with a manifest (`run.manifests`) that holds
the hash of each file. Before a set is used, each file is hashed again.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from metaf2n_arch.run.manifests import (
    FOLDER,
    Label,
    Manifest,
    Record,
    manifest_file,
    read_manifest,
    write_manifest,
)
from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.utils.staging import Staged, sha256_of

MODELS, STATES = 'models', 'training_states'


@dataclass(frozen=True)
class SetFolders:
    """The folders of an experiment that hold its checkpoint sets."""

    models: Path
    states: Path

    @classmethod
    def of(cls, paths: Mapping[str, Any]) -> SetFolders:
        """The folders in the block ``path`` of an option file, after the runner has filled it in."""
        return cls(Path(paths[MODELS]), Path(paths[STATES]))

    @property
    def manifests(self) -> Path:
        return self.states.parent / FOLDER

    def file(self, name: str) -> Path:
        """The path of a file, by its name in a manifest."""
        kind, _, base = name.partition('/')
        return (self.models if kind == MODELS else self.states) / Path(base).name

    def iterations(self) -> list[int]:
        """The iterations that have a training state, newest first."""
        return sorted((int(f.stem) for f in self.states.glob('*.state') if f.stem.isdecimal()), reverse=True)


class SetWriter:
    """Publishes the files of checkpoint sets, and commits each set with its manifest.

    Args:
        folders: folders of the experiment.
    """

    def __init__(self, folders: SetFolders) -> None:
        self.folders = folders
        self._label: Label | None = None
        self._files: dict[str, Record] = {}

    def publish_network(self, label: Label, staged: Staged) -> None:
        """Publishes the file of a network. If this replaces a file of a complete set, the set is marked incomplete."""
        self._enter(label)
        name, record = f'{MODELS}/{staged.path.name}', Record.of(staged)
        if self._would_mix(label, name, record):
            write_manifest(self.folders.manifests, Manifest(label).open())
        staged.publish()
        self._files[name] = record

    def commit(self, label: Label, epoch: int, made_with: Mapping[str, Any], state: Staged | None = None) -> None:
        """Publishes the training state, and then the manifest of the set.

        A state may be written again with the same networks, for example after a validation. The set stays valid all
        the time: while the state is replaced, the manifest accepts both hashes.
        """
        self._enter(label)
        files = dict(self._files)
        before = self._intact(label)
        if before is not None:
            files = {**before.files, **files}
        if state is not None:
            name, record = f'{STATES}/{state.path.name}', Record.of(state)
            if before is not None and name in before.files and before.files[name] != record:
                either = Record(record.bytes, (*before.files[name].sha256, *record.sha256))
                write_manifest(self.folders.manifests, replace(before, files={**files, name: either}))
            state.publish()
            files[name] = record
        write_manifest(self.folders.manifests, Manifest(label, epoch, files, True, made_with))

    def _enter(self, label: Label) -> None:
        if label != self._label:
            self._label, self._files = label, {}

    def _intact(self, label: Label) -> Manifest | None:
        """The present manifest, if it is complete and agrees with the networks written so far; else None."""
        try:
            manifest = read_manifest(self.folders.manifests, label)
        except DataError:
            return None
        if manifest is None or not manifest.complete:
            return None
        changed = any(manifest.files.get(name, record) != record for name, record in self._files.items())
        return None if changed else manifest

    def _would_mix(self, label: Label, name: str, record: Record) -> bool:
        """Whether `label` already has a state that was saved with another version of this file."""
        if not (self.folders.states / f'{label}.state').exists():
            return False
        manifest = self._intact(label)
        return manifest is None or manifest.files.get(name) != record


def check_set(folders: SetFolders, label: int, networks: list[str]) -> Manifest | None:
    """Hashes the files of a set that a run needs, and compares the hashes with the manifest.

    Args:
        folders: folders of the experiment.
        label: iteration.
        networks: names of the network files that the run needs, for example ``net_g_8.pth``.

    Returns:
        The manifest; None if there is none. Then only the checksums inside the files were checked.

    Raises:
        DataError: a file is missing, damaged, or belongs to another set; the message names it.
    """
    manifest = read_manifest(folders.manifests, label)
    needed = [f'{STATES}/{label}.state', *(f'{MODELS}/{name}' for name in networks)]
    if manifest is None:
        for name in needed:
            check_archive(folders.file(name))
        return None
    path = manifest_file(folders.manifests, label)
    if not manifest.complete:
        raise DataError(f'{path}: the checkpoint of iteration {label} was being replaced when the run ended.')
    for name in needed:
        if name not in manifest.files:
            raise DataError(f'{folders.file(name)}: does not belong to the checkpoint of iteration {label} ({path}).')
    for name in needed:
        _check_file(folders, label, name, manifest.files[name])
    return manifest


def _check_file(folders: SetFolders, label: int, name: str, record: Record) -> None:
    path = folders.file(name)
    if not path.is_file():
        raise DataError(f'{path}: no such file; the checkpoint of iteration {label} is incomplete without it.')
    found = sha256_of(path)
    if found in record.sha256:
        return
    for other, theirs in _others(folders, label):
        if found in theirs.sha256:
            raise DataError(f'{path}: is not the file that was saved at iteration {label}, but {other}.')
    raise DataError(f'{path}: is damaged, its SHA-256 is not that of the file saved at iteration {label}.')


def _others(folders: SetFolders, label: int) -> Iterator[tuple[str, Record]]:
    """Name and record of each file of all other sets."""
    for path in sorted(folders.manifests.glob('*.json')):
        other: Label = int(path.stem) if path.stem.isdecimal() else path.stem
        try:
            manifest = read_manifest(folders.manifests, other)
        except DataError:
            continue
        if manifest is not None and other != label:
            yield from manifest.files.items()


def check_archive(path: Path) -> None:
    """Checks a file of `torch.save` by the checksums in its zip archive; the format before torch 1.6 has none.

    This finds most damage, but not all. Bytes between the records have no checksum, and an undamaged file of another
    iteration passes.

    Raises:
        DataError: the file is missing or damaged.
    """
    if not path.is_file():
        raise DataError(f'{path}: no such file.')
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (OSError, EOFError, ValueError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f'{path}: is damaged ({error}).') from None
    if damaged is not None:
        raise DataError(f'{path}: is damaged, the checksum of its record {damaged} is wrong.')


def prune(folders: SetFolders, keep: int, newest: int, best: frozenset[int] = frozenset()) -> None:
    """Removes all but the `keep` newest sets up to iteration `newest`.

    The networks of the iterations `best` are kept, with their manifests. Sets after `newest` are left by a run that was
    resumed from an earlier iteration; they may be damaged, so they are neither counted nor removed. Of each set the
    state is removed first, then the networks, then the manifest, so that no state is ever without the others.
    """
    found = folders.iterations()
    kept = sorted(i for i in found if i <= newest)[-keep:]
    for iteration in found:
        if iteration < kept[0]:
            (folders.states / f'{iteration}.state').unlink()
    gone = set()
    for file in folders.models.glob('net_*.pth'):
        suffix = file.stem.rpartition('_')[2]
        if suffix.isdecimal() and int(suffix) < kept[0] and int(suffix) not in best:
            file.unlink()
            gone.add(int(suffix))
    for iteration in gone:
        manifest_file(folders.manifests, iteration).unlink(missing_ok=True)
