"""Weights by name: where a file is, and how to get it. Nothing here runs unless it is called."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from metaf2n_arch.utils.checks import DataError, nearest
from metaf2n_arch.weights.published import TABLE, Weights

ENVIRONMENT = 'METAF2N_WEIGHTS'
"""Names a folder of weights that is looked into first, and fetched into."""


def table() -> dict[str, Weights]:
    """All known weights by name."""
    return {entry.name: entry for entry in TABLE}


def cache_folder() -> Path:
    """Where weights are fetched to: ``METAF2N_WEIGHTS`` if set, else the user's cache; never site-packages."""
    return next(_folders())


def locate(name_or_path: str | Path) -> Path:
    """Finds a weights file that is already on this machine.

    Looks at the path itself, then for the file of that name (of the table, or any other) in the folder
    ``METAF2N_WEIGHTS``, then in the user's cache.

    Raises:
        DataError: it is in none of these; the message says where to put it and how to fetch it.
    """
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    entry = table().get(str(name_or_path))
    if entry or path.parent == Path():
        for folder in _folders():
            found = folder / (entry.file if entry else path.name)
            if found.is_file():
                return found
    if entry is None:
        hint = nearest(str(name_or_path), table()) or ' Names: metaf2n weights list.'
        raise DataError(f'weights {name_or_path}: no such file, and no weights of that name.{hint}')
    raise DataError(
        f'weights {entry.name}: {entry.file} is not on this machine; run: metaf2n weights fetch {entry.name} '
        f'(or put the file from {entry.url} into {cache_folder()}; {_checksum_in_words(entry)}).'
    )


def fetch(name: str | Weights, progress: bool = True, say: Callable[[str], None] | None = None) -> Path:
    """Downloads a weights file into `cache_folder()`, unless it is there and whole.

    What was broken off is resumed; what was fetched is verified before it takes its name, so that a file of that name
    is always whole.

    Args:
        name: of the table, or an entry of one's own.
        progress: whether a bar is drawn when standard error is a terminal.
        say: is given the line that states the checksum of a file nobody could verify; by default it goes to standard
            error.

    Raises:
        DataError: an unknown name, no connection, a full disk, or another file than expected; the message says what to
            do instead.
    """
    entry = name if isinstance(name, Weights) else table().get(name)
    if entry is None:
        hint = nearest(str(name), table()) or f' Names: {", ".join(table())}.'
        raise DataError(f'weights {name}: no weights of that name.{hint}')
    import pooch
    from requests import RequestException

    folder = cache_folder()
    target = folder / entry.file
    present = target.is_file()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (present and (entry.sha256 is None or checksum(target) == entry.sha256)):
            pooch.get_logger().setLevel('WARNING')
            known = f'sha256:{entry.sha256}' if entry.sha256 else None
            downloader = ResumingDownloader(entry, folder, progress)
            pooch.retrieve(entry.url, known, fname=entry.file, path=folder, downloader=downloader)
    except (RequestException, OSError, ValueError) as error:
        raise DataError(_failure(entry, folder, error)) from None
    if entry.sha256 is None:
        line = f'{target}: the publisher states no checksum; not verified. Its sha256 is {checksum(target)}.'
        (say or _say)(line)
    return target


class ResumingDownloader:
    """Writes a download to a hidden partial file that the next attempt continues; a downloader of pooch.

    Args:
        entry: what is downloaded.
        folder: where the partial file lies.
        progress: whether a bar is drawn when standard error is a terminal.
    """

    def __init__(self, entry: Weights, folder: Path, progress: bool) -> None:
        self.entry = entry
        self.partial = folder / f'.{entry.file}.part'
        # The version the partial file belongs to, as the server names it: another version is not continued.
        self.version = folder / f'.{entry.file}.version'
        self.progress = progress

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        import requests

        start = self.partial.stat().st_size if self.partial.is_file() and self.version.is_file() else 0
        headers = {'Accept-Encoding': 'identity'}
        if start:
            headers |= {'Range': f'bytes={start}-', 'If-Range': self.version.read_text(encoding='utf-8')}
        with requests.get(url, headers=headers, stream=True, timeout=(10, 60)) as answer:
            if answer.status_code == 416:
                # Nothing is left to fetch, or the server knows a shorter file: begin again.
                self._forget()
                return self(url, output_file, pooch)
            answer.raise_for_status()
            self._write(answer, start if answer.status_code == 206 else 0)
        os.replace(self.partial, output_file)
        self._forget()

    def _write(self, answer: Any, start: int) -> None:
        from tqdm import tqdm

        version = answer.headers.get('ETag') or answer.headers.get('Last-Modified')
        if version and not version.startswith('W/'):
            self.version.write_text(version, encoding='utf-8')
        else:
            self.version.unlink(missing_ok=True)
        length = answer.headers.get('Content-Length')
        total = start + int(length) if length else self.entry.size
        bar = tqdm(
            desc=self.entry.file, total=total, initial=start, unit='B', unit_scale=True, disable=not self._shows_bar()
        )
        with bar, self.partial.open('ab' if start else 'wb') as file:
            for block in answer.iter_content(1 << 16):
                file.write(block)
                bar.update(len(block))
            file.flush()
            os.fsync(file.fileno())
        if total is not None and self.partial.stat().st_size < total:
            raise OSError(f'the connection ended after {self.partial.stat().st_size} of {total} bytes')

    def _shows_bar(self) -> bool:
        return self.progress and sys.stderr.isatty()

    def _forget(self) -> None:
        self.partial.unlink(missing_ok=True)
        self.version.unlink(missing_ok=True)


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _folders() -> Iterator[Path]:
    if os.environ.get(ENVIRONMENT):
        yield Path(os.environ[ENVIRONMENT]).expanduser()
    import pooch

    yield Path(pooch.os_cache('metaf2n')) / 'weights'


def _failure(entry: Weights, folder: Path, error: Exception) -> str:
    from requests import ConnectionError

    reason = ' '.join(str(error).split())[:200].rstrip('.')
    if isinstance(error, ConnectionError):  # whose own text is several nested errors long
        reason = f'the connection to {urlsplit(entry.url).hostname} failed'
    elif 'hash' in reason.lower():
        reason = 'what came is not the published file; its checksum differs'
    return (
        f'weights {entry.name}: {entry.file} could not be fetched from {entry.url} ({reason}). Try again, which '
        f'continues where it broke off, or put the file into {folder} yourself ({_checksum_in_words(entry)}).'
    )


def _checksum_in_words(entry: Weights) -> str:
    return f'sha256 {entry.sha256}' if entry.sha256 else 'sha256 unknown; not verified'


def _say(line: str) -> None:
    print(line, file=sys.stderr)
