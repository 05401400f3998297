"""Checkpoint sets: the networks and the training state of one iteration, committed together and checked when read.

Any file of a set can be damaged on a disk, or be replaced by that of another iteration, and still be read without an
error: what follows is another training. So the last thing written of a set is a manifest (`run.manifests`) with the
hash of each file, and before a set is used each file is hashed again.
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
        """Those of an option file's block ``path``, as the runner has completed it."""
        return cls(Path(paths[MODELS]), Path(paths[STATES]))

    @property
    def manifests(self) -> Path:
        return self.states.parent / FOLDER

    def file(self, name: str) -> Path:
        """The file of that name in a manifest."""
        kind, _, base = name.partition('/')
        return (self.models if kind == MODELS else self.states) / Path(base).name

    def iterations(self) -> list[int]:
        """The iterations that have a training state, newest first."""
        return sorted((int(f.stem) for f in self.states.glob('*.state') if f.stem.isdecimal()), reverse=True)


class SetWriter:
    """Puts the files of sets in their places, and commits each set with its manifest.

    Args:
        folders: where.
    """

    def __init__(self, folders: SetFolders) -> None:
        self.folders = folders
        self._label: Label | None = None
        self._files: dict[str, Record] = {}

    def publish_network(self, label: Label, staged: Staged) -> None:
        """Puts a network's file in its place. If that makes a set there invalid, the set is marked first."""
        self._enter(label)
        name, record = f'{MODELS}/{staged.path.name}', Record.of(staged)
        if self._would_mix(label, name, record):
            write_manifest(self.folders.manifests, Manifest(label).open())
        staged.publish()
        self._files[name] = record

    def commit(self, label: Label, epoch: int, made_with: Mapping[str, Any], state: Staged | None = None) -> None:
        """Puts the training state in its place, and then the manifest of the whole set.

        A state that is written once more with the same networks, as after a validation, leaves no moment without a
        valid set: until it is in its place the manifest allows for both.
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
        """The manifest that is there, if the networks written since are the ones it knows."""
        try:
            manifest = read_manifest(self.folders.manifests, label)
        except DataError:
            return None
        if manifest is None or not manifest.complete:
            return None
        changed = any(manifest.files.get(name, record) != record for name, record in self._files.items())
        return None if changed else manifest

    def _would_mix(self, label: Label, name: str, record: Record) -> bool:
        """Whether `label` has a state already that was not saved with this file."""
        if not (self.folders.states / f'{label}.state').exists():
            return False
        manifest = self._intact(label)
        return manifest is None or manifest.files.get(name) != record


def check_set(folders: SetFolders, label: int, networks: list[str]) -> Manifest | None:
    """Hashes the files of a set that a run needs, and compares with its manifest.

    Args:
        folders: where.
        label: iteration.
        networks: names of files that the run needs of this set, for example ``net_g_8.pth``.

    Returns:
        The manifest; None if there is none, and only the checksums inside the files could be looked at.

    Raises:
        DataError: a file is missing, damaged, or that of another set; it is named.
    """
    manifest = read_manifest(folders.manifests, label)
    needed = [f'{STATES}/{label}.state', *(f'{MODELS}/{name}' for name in networks)]
    if manifest is None:
        for name in needed:
            check_archive(folders.file(name))
        return None
    path = manifest_file(folders.manifests, label)
    if not manifest.complete:
        raise DataError(f'{path}: the set of iteration {label} was being replaced when the run ended.')
    for name in needed:
        if name not in manifest.files:
            raise DataError(f'{folders.file(name)}: does not belong to the set of iteration {label} ({path}).')
    for name in needed:
        _check_file(folders, label, name, manifest.files[name])
    return manifest


def _check_file(folders: SetFolders, label: int, name: str, record: Record) -> None:
    path = folders.file(name)
    if not path.is_file():
        raise DataError(f'{path}: no such file; the set of iteration {label} is not whole without it.')
    found = sha256_of(path)
    if found in record.sha256:
        return
    for other, theirs in _others(folders, label):
        if found in theirs.sha256:
            raise DataError(f'{path}: is not the file that was saved at iteration {label}, but {other}.')
    raise DataError(f'{path}: is damaged, it is not what was saved at iteration {label} (its sha256 differs).')


def _others(folders: SetFolders, label: int) -> Iterator[tuple[str, Record]]:
    """The files of all other sets."""
    for path in sorted(folders.manifests.glob('*.json')):
        other: Label = int(path.stem) if path.stem.isdecimal() else path.stem
        try:
            manifest = read_manifest(folders.manifests, other)
        except DataError:
            continue
        if manifest is not None and other != label:
            yield from manifest.files.items()


def check_archive(path: Path) -> None:
    """Checks a file of `torch.save` by the checksums of its zip archive; an older kind of file has none.

    Most damage shows, but not all: what is between the records has no checksum, and a whole file of another iteration
    is without fault.

    Raises:
        DataError: it is missing or damaged.
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
        raise DataError(f'{path}: is damaged, the checksum of its record {damaged} does not fit.')


def prune(folders: SetFolders, keep: int, newest: int, best: frozenset[int] = frozenset()) -> None:
    """Removes all but the `keep` newest sets up to iteration `newest`.

    The networks of the iterations `best` stay, with their manifests. Later sets, left by a run that was taken back to
    an earlier one, do not count: they may be what was damaged. A state goes before its networks and these before their
    manifest, so that no state is ever without either.
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
