"""Driver of the preparations: processes every image of a folder in parallel, resumes, and skips bad images."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from metaf2n_arch.data.meta_lines import read_meta_info
from metaf2n_arch.data.prepare.journal import Journal
from metaf2n_arch.images.listing import scan_images
from metaf2n_arch.images.reading import image_size, read_8bit
from metaf2n_arch.images.writing import write_image
from metaf2n_arch.utils.checks import DataError, make_folder
from metaf2n_arch.utils.files import write_whole

Track = Callable[[Iterable[Any], int], Iterable[Any]]
WORTH_A_PROCESS = 16
"""Smallest number of images per process; with fewer, starting a process costs more time than it saves."""


class Unfit(DataError):
    """An image that cannot be used. It is listed, and the other images are processed."""


@dataclass(frozen=True)
class Skipped:
    """Result for an image that was skipped, with the reason."""

    reason: str


@dataclass(frozen=True)
class Made:
    """Result for an image.

    Attributes:
        files: files made from it, relative to `out`.
        facts: further values for the journal, which JSON can hold.
    """

    files: list[str]
    facts: Any


@dataclass
class Summary:
    """Result of a run.

    Attributes:
        made: number of images that it finished; in a dry run, that it would finish.
        before: number of images that an earlier run had finished.
        files: number of files that it wrote; 0 in a dry run.
        skipped: name -> reason of each image that it skipped.
        listed: file that lists the skipped images, if there are any.
    """

    made: int = 0
    before: int = 0
    files: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    listed: Path | None = field(default=None, compare=False)

    def describe(self, dry_run: bool = False) -> str:
        """Returns one line with the numbers of images that were done, done before, and skipped."""
        images, files = count(self.made, 'image'), count(self.files, 'file')
        parts = [f'{images} would be done' if dry_run else f'{images} done, {files} written']
        return ', '.join(parts + self._rest())

    def _rest(self) -> list[str]:
        before = [f'{self.before} done before'] if self.before else []
        return before + ([f'{len(self.skipped)} skipped'] if self.skipped else [])

    @property
    def remarks(self) -> list[str]:
        """Lines to show below the summary."""
        return []

    @property
    def useless(self) -> bool:
        """Whether no image was finished, neither by this run nor by an earlier one."""
        return not self.made and not self.before


def count(number: int, what: str) -> str:
    """Returns a number with its noun.

    >>> count(1, 'image'), count(2, 'image')
    ('1 image', '2 images')
    """
    return f'{number} {what}{"" if number == 1 else "s"}'


class Work(Protocol):
    """A preparation of one image. It is sent to other processes, so its attributes must be picklable."""

    @property
    def source(self) -> Path:
        """Folder of images."""

    @property
    def out(self) -> Path:
        """Folder for the results."""

    @property
    def command(self) -> str:
        """Name of the preparation."""

    def settings(self) -> dict[str, Any]:
        """Returns all settings that the results depend on."""

    def check(self, name: str) -> None:
        """Checks the header of an image; raises `Unfit` if the image cannot be used."""

    def __call__(self, name: str) -> list[str] | Made:
        """Makes the files of one image, each written atomically; returns their names relative to `out`.

        Raises:
            Unfit: the image cannot be used.
        """


def prepare(
    work: Work,
    jobs: int | None = None,
    dry_run: bool = False,
    track: Track = lambda i, n: i,
    listing: Path | None = None,
) -> Summary:
    """Calls `work` for every image in its source folder and subfolders that no earlier run has finished.

    Args:
        work: the preparation.
        jobs: number of processes; by default the number of cores, or fewer for few images.
        dry_run: only check the headers, and write nothing.
        track: wraps an iterable of the given length, for a progress bar.
        listing: meta-info file of the images to use, relative to the source, as `split` writes it; None uses all.

    Raises:
        DataError: there is no image, `out` is inside the source, or a file cannot be written.
    """
    require_apart(work.source, work.out)
    summary = Summary()
    names = image_names(work.source, summary.skipped, listing)
    journal = Journal(work.out, work.command, work.settings())
    todo = [name for name in names if not journal.holds(name, work.source / name)]
    summary.before = len(names) - len(todo)
    try:
        for name, result in track(each(work.check if dry_run else work, todo, 1 if dry_run else jobs), len(todo)):
            if isinstance(result, Skipped):
                summary.skipped[name] = result.reason
                continue
            summary.made += 1
            if not dry_run:
                made = result if isinstance(result, Made) else Made(result, None)
                summary.files += len(made.files)
                journal.add(name, work.source / name, made.files, made.facts)
        if summary.skipped and not dry_run:
            make_folder(work.out)  # also if nothing could be made, the reasons are listed
    finally:
        journal.close()
        if not dry_run and work.out.is_dir():
            summary.listed = list_skipped(summary.skipped, work.out / f'.{work.command}.skipped.txt')
    return summary


def list_skipped(skipped: Mapping[str, str], file: Path) -> Path | None:
    """Writes a line with name and reason for each skipped image; if there are none, removes the file, returns None."""
    if not skipped:
        file.unlink(missing_ok=True)
        return None
    lines = [' '.join(f'{name}\t{reason}'.splitlines()) + '\n' for name, reason in sorted(skipped.items())]
    write_whole(file, ''.join(lines).encode('utf-8', 'backslashreplace'))
    return file


def each(
    function: Callable[[str], Any], names: Sequence[str], jobs: int | None = None
) -> Iterator[tuple[str, Any | Skipped]]:
    """Yields (name, result) in the order of completion; the result is `Skipped` for an image that cannot be used.

    Only four names per process are submitted at a time, so that results do not fill the memory.

    Raises:
        DataError: an error that is not the fault of an image, such as a full disk.
    """
    jobs = min(jobs or cores(), max(1, len(names) // WORTH_A_PROCESS)) if jobs != 1 else 1
    if jobs == 1:
        for name in names:
            yield name, guarded(function, name)
        return
    # Spawned, not forked: a fork copies the locks of other threads (OpenCV, torch), which may be held.
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context('spawn'), initializer=_start_worker)
    running: dict[Future[Any], str] = {}
    rest = iter(names)
    try:
        while True:
            for name in islice(rest, 4 * jobs - len(running)):
                running[pool.submit(guarded, function, name)] = name
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
    except BrokenProcessPool:
        raise DataError('a process died, probably out of memory; run the command again with --jobs 1.') from None
    finally:
        pool.shutdown(cancel_futures=True)


def guarded(function: Callable[[str], Any], name: str) -> Any | Skipped:
    """Calls `function`; an error that is the fault of the image becomes `Skipped`."""
    try:
        return function(name)
    except Unfit as error:
        return Skipped(str(error))
    except (DataError, OSError):
        raise
    except Exception as error:  # libraries raise any exception for a bad file
        return Skipped(f'{name}: {type(error).__name__}: {str(error).strip()}')


def _start_worker() -> None:
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the run, after the images in progress
    cv2.setNumThreads(1)
    # For torch, where the work needs it: to import it here would cost each process 600 MB and two seconds.
    os.environ['OMP_NUM_THREADS'] = os.environ['MKL_NUM_THREADS'] = '1'
    if 'torch' in sys.modules:  # a program of the user imports it
        sys.modules['torch'].set_num_threads(1)


def cores() -> int:
    """Returns the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def image_names(source: Path, skipped: dict[str, str], listing: Path | None = None) -> list[str]:
    """Returns the images in a folder and its subfolders, or those in the meta-info file `listing`.

    Of images whose names differ only in the suffix the first is returned. The others, and files that are not images,
    are added to `skipped`.

    Raises:
        DataError: there is no folder or no image.
    """
    if not source.is_dir():
        raise DataError(f'{source} is not a folder; give a folder of images.')
    images, others = scan_images(source) if listing is None else (read_meta_info(listing, source, 'list')[0], [])
    if listing is not None and not images:
        raise DataError(f'{listing} lists no image.')
    if not images:
        found = f'; the files there have other suffixes, such as {others[0]}' if others else ''
        raise DataError(f'there is no image in {source}{found}.')
    first: dict[str, str] = {}
    for name in images:
        if '\n' in name or name.encode('utf-8', 'replace').decode() != name:  # meta-info files are lines of UTF-8
            skipped[name] = f'{name!a} is not UTF-8 or contains a line break; rename it.'
            continue
        other = first.setdefault(stem(name), name)
        if other != name:
            skipped[name] = f'{name} would be written to the same place as {other}; rename one of them.'
    skipped.update({name: f'{name} has no image suffix.' for name in others})
    return list(first.values())


def require_apart(source: Path, out: Path) -> None:
    """Raises `DataError` if `out` is `source` or inside it: the next run would read results as sources."""
    inner, outer = out.resolve(), source.resolve()
    if inner == outer or outer in inner.parents:
        raise DataError(f'{out} lies inside {source}: the next run would read results as sources; give another folder.')


def stem(name: str) -> str:
    """Returns a relative path without suffix, with forward slashes.

    >>> stem('a/b.c.png')
    'a/b.c'
    """
    return os.path.splitext(name)[0].replace(os.sep, '/')


def read_or_unfit(path: Path) -> np.ndarray:
    """Returns an image as (H, W, 3) uint8 RGB; 16 bits are rounded to 8.

    Raises:
        Unfit: the file is not an image, or is damaged.
    """
    try:
        return read_8bit(path)
    except DataError as error:
        raise Unfit(str(error)) from None


def require_side(path: Path, least: int) -> None:
    """Raises `Unfit` if a side of the image is shorter than `least`, or the header cannot be read."""
    try:
        height, width = image_size(path)
    except DataError as error:
        raise Unfit(str(error)) from None
    if min(height, width) < least:
        raise Unfit(f'{path} is {height}x{width}, smaller than {least}x{least}.')


def save(out: Path, name: str, image: np.ndarray) -> str:
    """Writes an image below `out`; returns `name`.

    Raises:
        DataError: it cannot be written.
    """
    write_image(out / name, image)
    return name
