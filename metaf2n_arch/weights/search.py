"""Search path for weights files: one for all of them, published or one's own, and what is missing, all at once."""

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
"""Names a folder of weights that is looked into first, and fetched into."""

_told: set[Path] = set()


def table() -> dict[str, PublishedFile]:
    """All published files that are known, by name."""
    return {entry.name: entry for entry in TABLE}


def cache_folder() -> Path:
    """Where weights are fetched to: ``METAF2N_WEIGHTS`` if set, else the user's cache; never site-packages."""
    return next(folders())


def torch_folder() -> Path:
    """torch's folder of downloads, found without importing torch: ``$TORCH_HOME/hub``."""
    torch = sys.modules.get('torch')
    if torch is not None:  # somebody may have chosen another
        return Path(torch.hub.get_dir())
    cache = os.environ.get('XDG_CACHE_HOME', '~/.cache')
    return Path(os.environ.get('TORCH_HOME', f'{cache}/torch')).expanduser() / 'hub'


def folders() -> Iterator[Path]:
    """The search path: ours, then where torch, pyiqa, BasicSR, facexlib and gfpgan keep their downloads."""
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
    """Finds a weights file that is already on this machine; nothing is downloaded.

    Looks at the path itself, then for the file of that name (of the table, or any other) in each of `folders`. A file
    under a published name is verified once, and said if it is another.

    Args:
        name_or_path: a name of ``metaf2n weights list``, the name of a file, or a path.
        what: what needs the file, for the message.

    Raises:
        DataError: it is nowhere; the message says how to fetch it, and where to put it.
    """
    found = _find(name_or_path)
    if found is not None:
        return found
    entry = table().get(str(name_or_path))
    if entry is None:
        hint = nearest(str(name_or_path), table()) or ' Names: metaf2n weights list.'
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
    """Finds out whether all weights files of a run are here, so that one message names all that are not.

    Args:
        wanted: what `locate` takes -> what needs it.
        also: the same, of files that the run does without; they are named if another one is missing.

    Raises:
        DataError: one or more of `wanted` are missing: all of them, with the one command that fetches them.
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
    """Where a published file, or one that cannot be told from it, is on this machine; its own folder first."""
    for folder in (home(entry), *folders()):
        path = folder / entry.file
        if path.is_file() and is_published(path, entry) is not False:
            return path
    return None


def find_here(entry: PublishedFile) -> Path | None:
    """Where a file of that name is on the search path, whether it is the published one or not."""
    return next((folder / entry.file for folder in folders() if (folder / entry.file).is_file()), None)


def entry_of(name: str) -> PublishedFile:
    """The published file of that name, or whose file is called so.

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
    """Whether a published file is on this machine, in a word or two.

    >>> state(PublishedFile('x', 'never.pth', '', None, None, '', ''))
    '-'
    """
    path = find_here(entry)
    if path is None:
        return '-'
    published = is_published(path, entry)
    return 'yes' if published else 'yes, not verified' if published is None else 'another file'


def home(entry: PublishedFile) -> Path:
    """The folder that a published file is fetched into."""
    own = entry.home == 'metaf2n' or os.environ.get(ENVIRONMENT)
    return cache_folder() if own else torch_folder() / 'checkpoints'


def is_published(path: Path, entry: PublishedFile) -> bool | None:
    """Whether a file is the published one, by its checksum; None where no checksum is known.

    The checksum is computed once and remembered with the file's size and time.
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
    """Says once in a process that a file under a published name is not the published one."""
    entry = next((entry for entry in TABLE if entry.file == path.name), None)
    if entry is None or path in _told or is_published(path, entry) is not False:
        return
    _told.add(path)
    print(
        f'{path} is not the file published under this name ({entry.checksum_in_words}); it is used as it is. To get '
        f'the published one: metaf2n weights fetch {entry.name}',
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
        with contextlib.suppress(DataError):  # a home that cannot be written to: computed again next time
            write_whole(memory, json.dumps(known, indent=1))
    return known[key]['sha256']


def _read(memory: Path) -> dict[str, dict[str, str]]:
    """Checksums by file; empty where the memory is missing or damaged."""
    try:
        known = json.loads(memory.read_text(encoding='utf-8'))
        return {name: entry for name, entry in known.items() if isinstance(entry['sha256'], str)}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def _user_cache() -> Path:
    from platformdirs import user_cache_dir

    return Path(user_cache_dir('metaf2n'))
