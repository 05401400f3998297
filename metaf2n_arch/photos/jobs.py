"""Jobs: which photos are restored and where each result goes. Conflicts are errors before anything is restored."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from metaf2n_arch.images.formats import SUFFIXES, WRITTEN, is_image_name, written_suffix
from metaf2n_arch.images.listing import files_of_pattern, scan_images
from metaf2n_arch.utils.checks import DataError, OptionError

COMPARE = 'compare'
"""Folder of the comparisons LQ | not adapted | adapted, inside the folder of the results."""


@dataclass(frozen=True, slots=True)
class Job:
    """A photo to be restored. Paths are strings, which need less memory: there may be a hundred thousand photos.

    Attributes:
        file: path of the photo.
        out: folder of the results.
        name: path of the result, relative to `out`.
        sheet: path of the comparison, relative to `out`.
    """

    file: str
    out: str
    name: str
    sheet: str

    @property
    def source(self) -> Path:
        """Path of the photo."""
        return Path(self.file)

    @property
    def target(self) -> Path:
        """Path of the result."""
        return Path(self.out, self.name)

    @property
    def compare(self) -> Path:
        """Path of the comparison."""
        return Path(self.out, self.sheet)


def collect(
    paths: Sequence[str | Path],
    out: str | Path,
    suffix: str | None = None,
    compare: bool = False,
    passed: dict[str, str] | None = None,
) -> list[Job]:
    """Decides which photos are restored and where each result goes.

    Args:
        paths: files; folders, searched with their subfolders, which the results keep; patterns (``*``, ``?``, ``**``).
        out: folder of the results; photos inside it are not searched, also if it is part of a folder or pattern.
        suffix: suffix of the results, for example ``png``. None keeps the suffix of each photo, and takes png for
            formats that are only read.
        compare: whether comparisons are written, too; their names are checked then.
        passed: dictionary that is filled with the files that are not photos, and the reason for each.

    Raises:
        DataError: no photo is found.
        OptionError: a result would overwrite its photo or another file of this run, the suffix is unknown, a path is
            empty, or `out` is a file.
    """
    if not all(str(path) for path in paths):  # an unset shell variable; pathlib reads '' as the current folder
        raise OptionError('one of the photos is given without a name; name files, folders or patterns.')
    out = Path(out).expanduser()
    if not out.is_dir() and (out.exists() or out.suffix.lower() in SUFFIXES):
        raise OptionError(f'{out} names a file; give a folder for the results.')
    wanted = None if suffix is None else written_suffix(suffix)
    passed = {} if passed is None else passed
    found = (pair for path in paths for pair in _find(path, out, passed))
    plan = _Plan(str(out), wanted)
    seen: set[str] = set()
    for source, below in found:
        place = os.path.realpath(source) if len(paths) > 1 else source
        if place not in seen:
            seen.add(place)
            plan.add(source, below)
    return plan.jobs(compare)


class _Plan:
    """Plan of the names of results and comparisons; no name is given twice."""

    def __init__(self, out: str, suffix: str | None) -> None:
        self.out, self.suffix = out, suffix
        self.sources: dict[str, str] = {}  # name of the result -> photo
        self.names: dict[str, str] = {}  # photo -> its path relative to the given folder

    def add(self, source: str, below: str) -> None:
        name = self._name(below)
        if os.path.normcase(name) in self.sources and self.suffix is None and not below.endswith(name):
            name = below + '.png'  # a.gif beside a.png
        target = os.path.join(self.out, name)
        if os.path.abspath(target) == os.path.abspath(source) or _same(target, source):
            raise OptionError(f'{source} would be overwritten by its result; give another folder for the results.')
        other = self.sources.setdefault(os.path.normcase(name), source)
        if other != source:
            raise OptionError(f'{other} and {source} would both become {target}; restore them separately.')
        self.names[source] = below

    def _name(self, below: str) -> str:
        stem, ending = os.path.splitext(below)
        if self.suffix is not None:
            return stem + self.suffix
        return below if ending.lower() in WRITTEN or not is_image_name(below) else stem + '.png'

    def jobs(self, compare: bool) -> list[Job]:
        sheets: set[str] = set()
        jobs = []
        for name, source in self.sources.items():
            below = self.names[source]
            stems = chain((os.path.splitext(below)[0], below), (f'{below}.{number}' for number in count(2)))
            choices = (os.path.join(COMPARE, f'{stem}.png') for stem in stems)
            sheet = next(choice for choice in choices if os.path.normcase(choice) not in sheets)
            clash = self.sources.get(os.path.normcase(sheet)) if compare else None
            if clash is not None:
                place = os.path.join(self.out, sheet)
                raise OptionError(
                    f'{clash} and the comparison of {source} would both become {place}; restore them separately.'
                )
            sheets.add(os.path.normcase(sheet))
            jobs.append(Job(source, self.out, _spelling(name, below, self._name(below)), sheet))
        return jobs


def _spelling(key: str, below: str, plain: str) -> str:
    """The name of a result as it is written; `key` is that name after `os.path.normcase`."""
    return plain if os.path.normcase(plain) == key else below + '.png'


def _same(target: str, source: str) -> bool:
    try:
        return os.path.samefile(target, source)
    except OSError:
        return False


def _find(path: str | Path, out: Path, passed: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Photos, each with the name of its result relative to the folder of the results (before its suffix is chosen)."""
    path = Path(path).expanduser()
    if path.is_dir():
        images, others = scan_images(path, out)  # without the results of an earlier run
        passed.update({str(path / name): _why_not(name) for name in others})
        if not images:
            raise DataError(f'{path} holds no photo ({", ".join(suffix[1:] for suffix in SUFFIXES)}).')
        yield from ((os.path.join(path, name), name) for name in images)
    elif path.exists() or not glob.has_magic(str(path)):
        yield str(path), path.name  # a file that cannot be read is reported later, as a failed outcome
    else:
        place = os.path.realpath(out)
        files = [file for file in files_of_pattern(str(path)) if not os.path.realpath(file).startswith(place + os.sep)]
        fitting = [file for file in files if is_image_name(file) and os.path.isfile(file)]
        passed.update({file: _why_not(file) for file in files if file not in set(fitting)})
        if not fitting:
            raise DataError(f'no photo matches {path}.')
        yield from ((file, os.path.basename(file)) for file in fitting)


def _why_not(name: str) -> str:
    ending = os.path.splitext(name)[1]
    if not ending and os.path.isdir(name):
        return 'a folder; name it without a pattern'
    return f'{ending} is not an image suffix' if ending else 'the name has no image suffix'


def why_none_opens(jobs: Sequence[Job]) -> list[str]:
    """Why each photo cannot be opened; an empty list as soon as one of them can be."""
    reasons = []
    for job in jobs:
        try:
            with open(job.file, 'rb'):
                return []
        except OSError as error:
            reasons.append(f'cannot be opened: {error.strerror}')
    return reasons


def remove_done(jobs: Sequence[Job]) -> list[Job]:
    """The photos whose result does not exist yet."""
    return [job for job in jobs if not os.path.exists(job.target)]
