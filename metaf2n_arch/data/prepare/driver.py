"""Driver of the preparations: one thing for every image of a folder, in parallel, restartable, past bad images."""

from __future__ import annotations

import multiprocessing
import os
import signal
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
"""Images per process below which starting it costs more time than it saves."""


class Unfit(DataError):
    """An image that cannot be used; it is listed, and the others are done."""


@dataclass(frozen=True)
class Skipped:
    """Why an image was left out."""

    reason: str


@dataclass(frozen=True)
class Made:
    """Files made of an image, below `out`, and what else the journal is to hold of it, fit for JSON."""

    files: list[str]
    facts: Any


@dataclass
class Summary:
    """What a run did.

    Attributes:
        made: images it finished, or would have, in a dry run.
        before: images an earlier run had finished.
        files: files it wrote; 0 in a dry run.
        skipped: name and reason of each image it left out.
        listed: file that lists all of these.
    """

    made: int = 0
    before: int = 0
    files: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    listed: Path | None = field(default=None, compare=False)

    def describe(self, dry_run: bool = False) -> str:
        """Returns one line: how many images were done, found done, and left out."""
        images, files = count(self.made, 'image'), count(self.files, 'file')
        parts = [f'{images} would be done' if dry_run else f'{images} done, {files} written']
        return ', '.join(parts + self._rest())

    def _rest(self) -> list[str]:
        before = [f'{self.before} done before'] if self.before else []
        return before + ([f'{len(self.skipped)} skipped'] if self.skipped else [])

    @property
    def remarks(self) -> list[str]:
        """Lines to be shown below the summary."""
        return []

    @property
    def useless(self) -> bool:
        """Whether nothing at all could be done."""
        return not self.made and not self.before


def count(number: int, what: str) -> str:
    """Returns a number with its noun.

    >>> count(1, 'image'), count(2, 'image')
    ('1 image', '2 images')
    """
    return f'{number} {what}{"" if number == 1 else "s"}'


class Work(Protocol):
    """What is done to one image. It travels to other processes: plain values only."""

    @property
    def source(self) -> Path:
        """Folder of images."""

    @property
    def out(self) -> Path:
        """Folder to fill."""

    @property
    def command(self) -> str:
        """Name of the preparation."""

    def settings(self) -> dict[str, Any]:
        """Returns everything the files depend on besides the image."""

    def check(self, name: str) -> None:
        """Raises `Unfit` if the image's header shows that it cannot be used."""

    def __call__(self, name: str) -> list[str] | Made:
        """Makes the files of one image, each whole or not at all; returns their names below `out`.

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
    """Does `work` to every image below its source that an earlier run has not finished.

    Args:
        work: what to do.
        jobs: number of processes; by default as many as there are cores and images to keep them busy.
        dry_run: look at the headers and write nothing.
        track: wraps an iterable of the given length, for a progress bar.
        listing: meta-info list of the images to take, relative to the source, as `split` writes them; None takes all.

    Raises:
        DataError: there is no image, `out` lies inside the source, or a file cannot be written.
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
            make_folder(work.out)  # where nothing could be made, the reasons are listed all the same
    finally:
        journal.close()
        if not dry_run and work.out.is_dir():
            summary.listed = list_skipped(summary.skipped, work.out / f'.{work.command}.skipped.txt')
    return summary


def list_skipped(skipped: Mapping[str, str], file: Path) -> Path | None:
    """Writes each image that was left out, and why, a line each; without any, removes the file and returns None."""
    if not skipped:
        file.unlink(missing_ok=True)
        return None
    lines = [' '.join(f'{name}\t{reason}'.splitlines()) + '\n' for name, reason in sorted(skipped.items())]
    write_whole(file, ''.join(lines).encode('utf-8', 'backslashreplace'))
    return file


def each(
    function: Callable[[str], Any], names: Sequence[str], jobs: int | None = None
) -> Iterator[tuple[str, Any | Skipped]]:
    """Yields (name, result) in the order of completion; the result is `Skipped` where an image is unfit.

    A few names per process are on their way at a time, so that results do not pile up in memory.

    Raises:
        DataError: what is no fault of an image, such as a full disk.
    """
    jobs = min(jobs or cores(), max(1, len(names) // WORTH_A_PROCESS)) if jobs != 1 else 1
    if jobs == 1:
        for name in names:
            yield name, guarded(function, name)
        return
    # Spawned, not forked: a fork copies the locks of other threads (OpenCV, torch) in whatever state they are.
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
        raise DataError('a process died, probably for want of memory; run the command again with --jobs 1.') from None
    finally:
        pool.shutdown(cancel_futures=True)


def guarded(function: Callable[[str], Any], name: str) -> Any | Skipped:
    """Calls `function`; what an image is to blame for becomes `Skipped`."""
    try:
        return function(name)
    except Unfit as error:
        return Skipped(str(error))
    except (DataError, OSError):
        raise
    except Exception as error:  # libraries raise what they like at what is in a file
        return Skipped(f'{name}: {type(error).__name__}: {str(error).strip()}')


def _start_worker() -> None:
    import cv2
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the run, after the images that are being written
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def cores() -> int:
    """Returns the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def image_names(source: Path, skipped: dict[str, str], listing: Path | None = None) -> list[str]:
    """Returns the images below a folder, of several whose names differ in their suffix only the first.

    With a `listing`, a meta-info list, those that it names.

    Raises:
        DataError: there is no folder or no image.
    """
    if not source.is_dir():
        raise DataError(f'{source} is no folder; give a folder of images.')
    images, others = scan_images(source) if listing is None else (read_meta_info(listing, source, 'list')[0], [])
    if listing is not None and not images:
        raise DataError(f'{listing} lists no image.')
    if not images:
        found = f'; the files there have other suffixes, such as {others[0]}' if others else ''
        raise DataError(f'there is no image in {source}{found}.')
    first: dict[str, str] = {}
    for name in images:
        if '\n' in name or name.encode('utf-8', 'replace').decode() != name:  # lists are lines of UTF-8
            skipped[name] = f'{name!a} is not UTF-8 or holds a line break; rename it.'
            continue
        other = first.setdefault(stem(name), name)
        if other != name:
            skipped[name] = f'{name} would be written to the same place as {other}; rename one of them.'
    skipped.update({name: f'{name} has no image suffix.' for name in others})
    return list(first.values())


def require_apart(source: Path, out: Path) -> None:
    """Raises `DataError` if results would be read as sources the next time."""
    inner, outer = out.resolve(), source.resolve()
    if inner == outer or outer in inner.parents:
        raise DataError(f'{out} lies inside {source}: results would be taken for sources; give another folder.')


def stem(name: str) -> str:
    """Returns a relative path without its suffix, with slashes.

    >>> stem('a/b.c.png')
    'a/b.c'
    """
    return os.path.splitext(name)[0].replace(os.sep, '/')


def read_or_unfit(path: Path) -> np.ndarray:
    """Returns (H, W, 3) uint8 RGB; 16 bits are rounded to 8.

    Raises:
        Unfit: the file is no complete picture.
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
