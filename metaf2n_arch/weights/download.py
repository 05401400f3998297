"""Download of published weights files: an interrupted download is resumed, and a file is verified before it is used."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.weights.published import PublishedFile
from metaf2n_arch.weights.search import checksum, entry_of, find_published, home


def fetch(name: str | PublishedFile, progress: bool = True, say: Callable[[str], None] | None = None) -> Path:
    """Downloads a weights file into its folder (see `home`), unless it is on this machine already.

    An interrupted download is resumed. The file gets its name only after it is complete and verified.

    Args:
        name: name in the table, or an entry of your own.
        progress: whether to show a progress bar, if standard error is a terminal.
        say: called with a line that states the checksum, if the publisher states none; by default the line is printed
            on standard error.

    Returns:
        Path of the file.

    Raises:
        DataError: the name is unknown, there is no connection, the disk is full, or another file was received. The
            message says what to do.
    """
    entry = name if isinstance(name, PublishedFile) else entry_of(name)
    from requests import RequestException

    folder = home(entry)
    try:
        target = find_published(entry)
        if target is None:
            target = folder / entry.file
            folder.mkdir(parents=True, exist_ok=True)
            Download(entry, folder, progress).run(target)
    except (RequestException, OSError, ValueError) as error:
        raise DataError(_failure(entry, folder, error)) from None
    if entry.sha256 is None:
        line = f'{target}: the publisher states no checksum; not verified. Its sha256 is {checksum(target)}.'
        (say or _say)(line)
    return target


class Download:
    """A download into a hidden partial file, which the next attempt continues.

    Args:
        entry: the file to download.
        folder: folder of the partial file.
        progress: whether to show a progress bar, if standard error is a terminal.
    """

    def __init__(self, entry: PublishedFile, folder: Path, progress: bool) -> None:
        self.entry = entry
        self.partial = folder / f'.{entry.file}.part'
        # Version of the partial file as the server names it (ETag). A partial file of another version is not continued.
        self.version = folder / f'.{entry.file}.version'
        self.progress = progress

    def run(self, target: Path) -> None:
        """Downloads the file, verifies it, and moves it to `target`.

        Raises:
            requests.RequestException, OSError: the file could not be downloaded or written.
            ValueError: its checksum is not the published one.
        """
        import requests

        start = self.partial.stat().st_size if self.partial.is_file() and self.version.is_file() else 0
        headers = {'Accept-Encoding': 'identity'}
        if start:
            headers |= {'Range': f'bytes={start}-', 'If-Range': self.version.read_text(encoding='utf-8')}
        with requests.get(self.entry.url, headers=headers, stream=True, timeout=(10, 60)) as answer:
            if answer.status_code == 416:
                # The partial file is as long as the server's file, or longer: begin again.
                self._forget()
                return self.run(target)
            answer.raise_for_status()
            self._write(answer, start if answer.status_code == 206 else 0)
        if self.entry.sha256 is not None and not checksum(self.partial).startswith(self.entry.sha256):
            self._forget()
            raise ValueError('the downloaded file is not the published one; its checksum differs')
        os.replace(self.partial, target)
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


def _failure(entry: PublishedFile, folder: Path, error: Exception) -> str:
    from requests import ConnectionError

    reason = ' '.join(str(error).split())[:200].rstrip('.')
    if isinstance(error, ConnectionError):  # its own text consists of several nested errors
        reason = f'the connection to {urlsplit(entry.url).hostname} failed'
    return (
        f'weights {entry.name}: {entry.file} could not be fetched from {entry.url} ({reason}). Try again, which '
        f'continues where it broke off, or put the file into {folder} yourself ({entry.checksum_in_words}).'
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr)
