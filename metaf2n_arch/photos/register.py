"""Register of finished photos: a stopped run goes on where it stopped, and several processes share the photos."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metaf2n_arch.photos.jobs import Job
from metaf2n_arch.utils.checks import make_folder
from metaf2n_arch.utils.lines import LineWriter, read_lines
from metaf2n_arch.utils.processes import Claims, host

FOLDER = '.restore'
DONE = 'done before'
TAKEN = 'another process works on it'


class Register:
    """Register of the photos that are done in one folder of results, with their settings and source files.

    Each process appends to its own file in the folder ``.restore`` of the results, and reads the files of the others.
    A photo is done if its result exists and was made from the same file (path, size, time) with the same settings.

    Args:
        out: folder of the results.
        settings: everything that the results depend on, besides the photos.
        again: whether photos that earlier runs finished are done again.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any], again: bool = False) -> None:
        self.folder = out / FOLDER
        self._settings = _digest(json.dumps(settings, sort_keys=True, default=str))
        self._done: dict[str, tuple[int, int]] = {}
        self._places: dict[str, int] = {}
        self._claims = Claims(self.folder / 'claims')
        self._own = LineWriter(self.folder / f'{host()}-{os.getpid()}-{secrets.token_hex(3)}.jsonl')
        self._read()
        if again:
            self._done = {name: (source, 0) for name, (source, _) in self._done.items()}

    def take(self, job: Job) -> str | None:
        """Claims a photo for this process. Returns None, or `DONE` or `TAKEN` if it must not be restored."""
        if self._holds(job):
            return DONE
        if not self._claims.take(_claim(job)):
            return TAKEN
        self._read()  # another process may have finished it since the last reading
        if self._holds(job):
            self._claims.release(_claim(job))
            return DONE
        return None

    def conflict(self, job: Job) -> str | None:
        """Returns an error message if the result would replace that of another photo; otherwise None."""
        known = self._done.get(job.name)
        if known is None or known[0] == _source(job) or not job.target.exists():
            return None
        return f'{job.target} exists already and is the result of another photo; give another folder for the results.'

    def refresh(self, job: Job) -> None:
        """Keeps the claim on a photo alive, so that no other process takes the photo."""
        self._claims.refresh(_claim(job))

    def finish(self, job: Job, done: bool) -> None:
        """Releases the claim on a photo, and records it as done if `done`."""
        if done and (stamp := _stamp(job)) is not None:
            source, state = _source(job), _digest(f'{stamp} {self._settings}')
            self._own.add({'result': job.name, 'source': source, 'state': state})
            self._done[job.name] = source, state
        self._claims.release(_claim(job))

    def close(self) -> None:
        self._own.close()

    def _holds(self, job: Job) -> bool:
        known = self._done.get(job.name)
        stamp = None if known is None else _stamp(job)
        if known is None or stamp is None or known[1] != _digest(f'{stamp} {self._settings}'):
            return False
        return known[0] == _source(job) and os.path.exists(job.target)

    def _read(self) -> None:
        """Reads what other processes have added since the last reading."""
        try:
            files = [entry.name for entry in os.scandir(self.folder) if entry.name.endswith('.jsonl')]
        except FileNotFoundError:
            make_folder(self.folder)
            return
        for name in files:
            if name == self._own.path.name:
                continue
            for place, entry in read_lines(self.folder / name, self._places.get(name, 0)):
                self._places[name] = place
                if {'result', 'source', 'state'} <= entry.keys():
                    self._done[entry['result']] = entry['source'], entry['state']


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode('utf-8', 'surrogateescape'), digest_size=7).digest(), 'big')


def _source(job: Job) -> int:
    return _digest(os.path.abspath(job.file))


def _stamp(job: Job) -> str | None:
    try:
        status = os.stat(job.file)
    except OSError:
        return None
    return f'{status.st_size} {status.st_mtime_ns}'


def _claim(job: Job) -> str:
    return f'{_digest(job.name):014x}'
