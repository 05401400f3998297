"""Search path for weights files, published ones and your own; reports all missing files in one message."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from metaf2n_arch.utils.checks import DataError, nearest
from metaf2n_arch.utils.files import write_whole
from metaf2n_arch.weights.published import TABLE, PublishedFile

ENVIRONMENT = 'METAF2N_WEIGHTS'
"""Environment variable with a folder of weights that is searched first, and into which files are downloaded."""

_told: set[Path] = set()


def table() -> dict[str, PublishedFile]:
    """All known published files, by name."""
    return {entry.name: entry for entry in TABLE}


def cache_folder() -> Path:
    """Folder into which weights are downloaded: ``METAF2N_WEIGHTS`` if set, otherwise the user's cache."""
    return next(folders())


def torch_folder() -> Path:
    """Folder for downloads of torch, ``$TORCH_HOME/hub``, found without importing torch."""
    torch = sys.modules.get('torch')
    if torch is not None:  # a program may have set another folder
        return Path(torch.hub.get_dir())
    cache = os.environ.get('XDG_CACHE_HOME', '~/.cache')
    return Path(os.environ.get('TORCH_HOME', f'{cache}/torch')).expanduser() / 'hub'


def folders() -> Iterator[Path]:
    """The search path: our own folders, then the folders for downloads of torch, pyiqa, BasicSR, facexlib, gfpgan."""
    if os.environ.get(ENVIRONMENT):
        yield Path(os.environ[ENVIRONMENT]).expanduser()
    yield _user_cache() / 'weights'
    yield torch_folder() / 'checkpoints'
    yield torch_folder() / 'pyiqa'
    yield Path('experiments/pretrained_models')
    for package in ('facexlib', 'gfpgan'):
        spec = importlib.util.find_spec(package)
        yield from (Path(place) / 'weights' for place in (spec and spec.submodule_search_locations) or ())


def locate(name_or_path: str | Path, what: str | None = None) -> Path:
    """Finds a weights file on this machine; nothing is downloaded.

    Tries the path itself, then the file of that name in each of `folders`. A file with a published name is verified
    once; a warning is printed if it is another file.

    Args:
        name_or_path: a name from ``metaf2n weights list``, the name of a file, or a path.
        what: what needs the file, for messages.

    Raises:
        DataError: the file is not found; the message says how to download it, and where to put it.
    """
    found = _find(name_or_path)
    if found is not None:
        return found
    entry = table().get(str(name_or_path))
    if entry is None:
        hint = nearest(str(name_or_path), table()) or ' For known names run: metaf2n weights list.'
        raise DataError(f'weights {name_or_path}: no such file, and no weights of that name.{hint}')
    missing = f'{what} needs the file {entry.file}, which' if what else f'weights {entry.name}: {entry.file}'
    raise DataError(
        f'{missing} is not on this machine; run: metaf2n weights fetch {entry.name} (or put the file from {entry.url} '
        f'into {home(entry)}; {entry.checksum_in_words}).'
    )


def is_here(name_or_path: str | Path) -> bool:
    """Whether `locate` finds a file."""
    return _find(name_or_path) is not None


def locate_all(wanted: Mapping[str, str], also: Mapping[str, str] | None = None) -> None:
    """Checks that all weights files of a run are on this machine.

    Args:
        wanted: name or path for `locate` -> what needs it, for the message.
        also: the same for optional files, which are named only if another one is missing.

    Raises:
        DataError: one or more of `wanted` are missing. The message names all of them, and the command to download them.
    """
    missing = {name: what for name, what in wanted.items() if _find(name) is None}
    if not missing:
        return
    missing |= {name: what for name, what in (also or {}).items() if _find(name) is None}
    known = table()
    names = [name for name in missing if name in known]
    own = [f'{missing[name]}: {name}: no such file.{nearest(name, known)}' for name in missing if name not in known]
    if len(names) == 1:
        try:
            locate(names[0], missing[names[0]])
        except DataError as error:
            raise DataError(' '.join([*own, str(error)])) from None
    if names:
        files = ', '.join(f'{known[name].file} ({missing[name]})' for name in names)
        size = sum(known[name].size or 0 for name in names) / 1e6
        own.append(
            f'{len(names)} weights files are not on this machine: {files}; run: metaf2n weights fetch '
            f'{" ".join(names)} (about {size:.0f} MB; or put the files into {cache_folder()}).'
        )
    raise DataError(' '.join(own))


def find_published(entry: PublishedFile) -> Path | None:
    """Path of a published file on this machine, verified if its checksum is known; `home` is searched first."""
    for folder in (home(entry), *folders()):
        path = folder / entry.file
        if path.is_file() and is_published(path, entry) is not False:
            return path
    return None


def find_here(entry: PublishedFile) -> Path | None:
    """Path of the first file of that name on the search path, whether it is the published one or not."""
    return next((folder / entry.file for folder in folders() if (folder / entry.file).is_file()), None)


def entry_of(name: str) -> PublishedFile:
    """The published file of that name or file name.

    Raises:
        DataError: there is none.
    """
    known = table()
    found = known.get(name) or next((entry for entry in TABLE if entry.file == name), None)
    if found is None:
        hint = nearest(name, known) or f' Names: {", ".join(known)}.'
        raise DataError(f'weights {name}: no weights of that name.{hint}')
    return found


def state(entry: PublishedFile) -> str:
    """Whether a published file is on this machine, in words for a table.

    >>> state(PublishedFile('x', 'never.pth', '', None, None, '', ''))
    '-'
    """
    path = find_here(entry)
    if path is None:
        return '-'
    published = is_published(path, entry)
    return 'yes' if published else 'yes, not verified' if published is None else 'another file'


def home(entry: PublishedFile) -> Path:
    """The folder into which a published file is downloaded."""
    own = entry.home == 'metaf2n' or os.environ.get(ENVIRONMENT)
    return cache_folder() if own else torch_folder() / 'checkpoints'


def is_published(path: Path, entry: PublishedFile) -> bool | None:
    """Whether a file is the published one, by its checksum; None if the published checksum is not known.

    The checksum is computed once and stored with size and time of the file.
    """
    if entry.sha256 is None:
        return None
    if entry.size is not None and path.stat().st_size != entry.size:
        return False
    return _remembered_checksum(path).startswith(entry.sha256)


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _find(name_or_path: str | Path) -> Path | None:
    path = Path(name_or_path).expanduser()
    entry = table().get(str(name_or_path))
    places = [path]
    if entry or path.parent == Path():
        places += [folder / (entry.file if entry else path.name) for folder in folders()]
    found = next((place for place in places if place.is_file()), None)
    if found is not None:
        _say_if_another(found)
    return found


def _say_if_another(path: Path) -> None:
    """Warns, once in a process, that a file with a published name is not the published one."""
    entry = next((entry for entry in TABLE if entry.file == path.name), None)
    if entry is None or path in _told or is_published(path, entry) is not False:
        return
    _told.add(path)
    print(
        f'{path} is not the file published under this name ({entry.checksum_in_words}), but it is used. To get the '
        f'published one, run: metaf2n weights fetch {entry.name}',
        file=sys.stderr,
    )


def _remembered_checksum(path: Path) -> str:
    memory = _user_cache() / 'checksums.json'
    key, state = str(path.resolve()), path.stat()
    stamp = f'{state.st_size} {state.st_mtime_ns}'
    known = _read(memory)
    if known.get(key, {}).get('stamp') != stamp:
        known = {name: entry for name, entry in known.items() if Path(name).is_file()}
        known[key] = {'stamp': stamp, 'sha256': checksum(path)}
        with contextlib.suppress(DataError):  # if the cache cannot be written, checksums are computed again next time
            write_whole(memory, json.dumps(known, indent=1))
    return known[key]['sha256']


def _read(memory: Path) -> dict[str, dict[str, str]]:
    """Stored checksums by file; empty if there are none, or if they are damaged."""
    try:
        known = json.loads(memory.read_text(encoding='utf-8'))
        return {name: entry for name, entry in known.items() if isinstance(entry['sha256'], str)}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def _user_cache() -> Path:
    from platformdirs import user_cache_dir

    return Path(user_cache_dir('metaf2n'))
