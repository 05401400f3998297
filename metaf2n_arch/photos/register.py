"""What is done already, and by whom: so that a run goes on where it stopped, and two of them do no photo twice."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metaf2n_arch.photos.jobs import Job
from metaf2n_arch.utils.checks import make_folder
from metaf2n_arch.utils.lines import LineWriter, read_lines
from metaf2n_arch.utils.processes import Claims, host

FOLDER = '.restore'
DONE = 'done before'
TAKEN = 'another process is at it'


class Register:
    """The photos of one folder of results that are done, with which settings, from which file.

    Each process adds to a file of its own in ``.restore`` below the results, and reads those of the others. A photo is
    done if its result is there and was made from the same file (name, length, time) with the same settings.

    Args:
        out: folder of the results.
        settings: everything the results depend on besides the photo.
        again: what earlier runs did does not count.
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

    def left(self, jobs: Sequence[Job]) -> list[Job]:
        """The photos that are not done."""
        return [job for job in jobs if not self._holds(job)]

    def take(self, job: Job) -> str | None:
        """Takes a photo for this process; a text says why not."""
        if self._holds(job):
            return DONE
        if not self._claims.take(_claim(job)):
            return TAKEN
        self._read()  # another may have finished it a moment ago
        if self._holds(job):
            self._claims.release(_claim(job))
            return DONE
        return None

    def conflict(self, job: Job) -> str | None:
        """Why a result must not be written: it would replace that of another photo."""
        known = self._done.get(job.name)
        if known is None or known[0] == _source(job) or not job.target.exists():
            return None
        return f'{job.target} is there already, from another photo; give another folder for the results.'

    def refresh(self, job: Job) -> None:
        """Tells others that this process is still at it."""
        self._claims.refresh(_claim(job))

    def finish(self, job: Job, done: bool) -> None:
        """Writes down that a photo is done, if it is, and lets go of it."""
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
        """What others have added since it was read last."""
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
