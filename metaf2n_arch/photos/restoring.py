"""Restoring of many photos one after the other, with reading and writing in threads; one bad photo stops no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from metaf2n_arch.images.photo import Photo
from metaf2n_arch.images.reading import read_photo
from metaf2n_arch.images.sizes import output_size
from metaf2n_arch.images.writing import check_target, write_strips
from metaf2n_arch.inference import MetaF2N, Opened
from metaf2n_arch.photos.faces_found import save_faces
from metaf2n_arch.photos.jobs import Job
from metaf2n_arch.photos.memory import is_lack_of_memory, smaller_tiles
from metaf2n_arch.photos.outcomes import Outcome
from metaf2n_arch.photos.pipe import Aborted, Pipe
from metaf2n_arch.photos.register import Register
from metaf2n_arch.photos.sheet import sheet_shape, sheet_strips
from metaf2n_arch.utils.checks import DataError

PhotoProgress = Callable[[Job, str, int, int], None]
"""A `Progress` with the photo as its first argument."""


@dataclass(frozen=True)
class _Options:
    compare: bool
    require_face: bool
    outscale: float | None
    save_faces: Path | None = None
    progress: PhotoProgress = lambda job, what, done, total: None


def restore_photos(
    sr: MetaF2N,
    jobs: Sequence[Job],
    *,
    compare: bool = False,
    require_face: bool = False,
    outscale: float | None = None,
    register: Register | None = None,
    save_faces_to: Path | None = None,
    progress: PhotoProgress | None = None,
) -> Iterator[Outcome]:
    """Restores photos one after the other, while threads read the next photo and write the last result.

    A photo that cannot be restored gives a failed outcome, and the others are restored all the same. If the run is
    stopped at any moment, no partial file is left.

    Args:
        sr: restores a photo.
        jobs: from `collect`.
        compare: whether the comparison LQ | not adapted | adapted is written, too.
        require_face: whether a photo without a face fails.
        outscale: see `MetaF2N.__call__`.
        save_faces_to: folder of the results, to write face crops into its folder ``faces``; None writes none.
        register: which photos are done already, by this or other processes; None restores all.
        progress: called now and then with the current photo and the arguments of `Progress`.

    Yields:
        The outcome of each photo, in order, after its files are written.
    """
    options = _Options(compare, require_face, outscale, save_faces_to)
    options = options if progress is None else replace(options, progress=progress)
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(3) as writers:
        last: Future[Outcome] | None = None
        for job, reading in _ahead(reader, jobs, register):
            if isinstance(reading, str):
                current = writers.submit(Outcome, job, passed=reading)
            else:
                current = _begin(sr, job, reading, options, writers, register)
            if last is not None:
                yield _recorded(last.result(), register)
            last = current
        if last is not None:
            yield _recorded(last.result(), register)


def _recorded(outcome: Outcome, register: Register | None) -> Outcome:
    if register is not None and outcome.passed is None:
        register.finish(outcome.job, outcome.failed is None)
    return outcome


def _ahead(
    pool: ThreadPoolExecutor, jobs: Sequence[Job], register: Register | None
) -> Iterator[tuple[Job, Future[Photo] | str]]:
    """Each job with its photo, while the next one is being read; or with the reason why it is passed over."""
    before: tuple[Job, Future[Photo] | str] | None = None
    for job in jobs:
        reason = None if register is None else register.take(job)
        following = job, pool.submit(read_photo, job.file) if reason is None else reason
        if before is not None:
            yield before
        before = following
    if before is not None:
        yield before


def _begin(
    sr: MetaF2N,
    job: Job,
    reading: Future[Photo],
    options: _Options,
    writers: ThreadPoolExecutor,
    register: Register | None,
) -> Future[Outcome]:
    """Restores a photo. The outcome is ready when its last strip is written."""
    try:
        if register is not None and (clash := register.conflict(job)) is not None:
            raise DataError(clash)
        photo = reading.result()
        _check_targets(sr, job, photo, options)
        opened = _open(sr, job, photo, options)
        if options.save_faces is not None:
            save_faces(opened.faces, options.save_faces, job)
        return _compute(sr, job, photo, opened, options, writers, register)
    except Exception as error:  # an error of one photo must not stop the others
        return writers.submit(Outcome, job, _reason(error, job))


def _check_targets(sr: MetaF2N, job: Job, photo: Photo, options: _Options) -> None:
    """Raises `DataError`, before anything is computed, if the result or its comparison cannot be written."""
    size = output_size(photo.pixels, sr.scale if options.outscale is None else options.outscale)
    check_target(job.target, (*size, *photo.pixels.shape[2:]), photo.is_opaque)
    if options.compare:
        check_target(job.compare, sheet_shape(size))


def _open(sr: MetaF2N, job: Job, photo: Photo, options: _Options) -> Opened:
    progress = partial(options.progress, job)
    try:
        return sr.open(photo.pixels, require_face=options.require_face, outscale=options.outscale, progress=progress)
    except Exception as error:
        if not is_lack_of_memory(error):
            raise
        raise DataError(
            'not enough memory for the faces of this photo; give fewer --patches,'
            " or --restorer '{type: ..., batch: 1}'."
        ) from None


def _compute(
    sr: MetaF2N,
    job: Job,
    photo: Photo,
    opened: Opened,
    options: _Options,
    writers: ThreadPoolExecutor,
    register: Register | None,
) -> Future[Outcome]:
    """Computes the strips and sends them to the writers. If memory is not enough, starts again with smaller tiles."""
    tiles = smaller_tiles(sr.options.tile, photo.pixels.shape)
    notes = photo.notes
    for tile in tiles:
        pipes = Pipe(), Pipe() if options.compare else None
        written = writers.submit(_write, job, photo, opened, pipes[0], notes)
        sheet = writers.submit(_write_sheet, job, photo, opened, pipes[1]) if pipes[1] is not None else None
        try:
            for plain, strip in opened.pairs(tile) if options.compare else ((s, s) for s in opened.strips(True, tile)):
                if register is not None:
                    register.refresh(job)
                if not pipes[0].put(strip) or (pipes[1] is not None and not pipes[1].put(np.stack([plain, strip]))):
                    break
            for pipe in pipes:
                if pipe is not None:
                    pipe.close()
            return written if sheet is None else writers.submit(_both, job, written, sheet)
        except BaseException as error:
            for pipe in pipes:
                if pipe is not None:
                    pipe.abort()
            with suppress(Exception):
                written.result()
            if not (isinstance(error, Exception) and is_lack_of_memory(error)):
                raise
            notes = (*photo.notes, f'in tiles of {next_tile(tiles, tile)}, because memory was not enough')
    raise DataError(f'not enough memory, even in tiles of {tiles[-1]}; give a smaller photo, or another --device.')


def next_tile(tiles: Sequence[int | None], tile: int | None) -> int | None:
    """The tile side that is tried after `tile`; the last one stays."""
    return tiles[min(tiles.index(tile) + 1, len(tiles) - 1)]


def _write(job: Job, photo: Photo, opened: Opened, strips: Pipe, notes: tuple[str, ...]) -> Outcome:
    outcome = Outcome(job, faces=len(opened.faces), adapted=opened.adapted, size=(opened.size[1], opened.size[0]))
    if opened.gain is not None and opened.adapted:
        outcome = replace(outcome, loss=opened.gain.loss, psnr=opened.gain.psnr)
    elif opened.reason is not None:
        notes = (*notes, f'restored unadapted: {opened.reason}')
    try:
        told = write_strips(job.target, strips, opened.shape, photo.pixels.dtype, photo, photo.is_opaque)
    except Exception as error:
        return Outcome(job, _reason(error, job))
    finally:
        strips.leave()
    return replace(outcome, notes=(*notes, *told))


def _write_sheet(job: Job, photo: Photo, opened: Opened, pairs: Pipe) -> str | None:
    """Writes the comparison. Returns None, or why it could not be written."""
    last = 'adapted' if opened.adapted else 'not adapted: no face' if not opened.faces else 'not adapted'
    strips = sheet_strips(photo.pixels, ((pair[0], pair[1]) for pair in pairs), opened.size, last)
    try:
        write_strips(job.compare, strips, sheet_shape(opened.size), np.dtype(np.uint8), Photo(photo.pixels[:1, :1]))
    except Exception as error:
        return _reason(error, job)
    finally:
        pairs.leave()
    return None


def _both(job: Job, written: Future[Outcome], sheet: Future[str | None]) -> Outcome:
    reason = sheet.result()
    outcome = written.result()
    return outcome if reason is None or outcome.failed is not None else Outcome(job, reason)


def _reason(error: Exception, job: Job) -> str:
    """Why a photo failed, in one line that does not repeat its name."""
    if isinstance(error, Aborted):
        return 'stopped'
    if is_lack_of_memory(error):
        return 'not enough memory to read or write it'
    text = ' '.join(next(chain(str(error).splitlines(), ['']), '').split())
    if isinstance(error, (DataError, ValueError)):
        return text.removeprefix(job.file).lstrip(': ')
    return f'{type(error).__name__}: {text}'.rstrip(': ')
