"""Floor 4: many photos: which file goes where, restoring one after the other, and what came of each."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from metaf2n_arch.images.formats import SUFFIXES
from metaf2n_arch.images.photo import Photo
from metaf2n_arch.images.reading import read_photo
from metaf2n_arch.images.writing import write_photo
from metaf2n_arch.inference import MetaF2N, Restoration
from metaf2n_arch.utils.checks import DataError, OptionError
from metaf2n_arch.images.kinds import as_rgb

COMPARE = 'compare'
"""Folder, below that of the results, of the strips LQ | not adapted | adapted."""


@dataclass(frozen=True)
class Job:
    """A photo to be restored: the file, where the result goes, and where its comparison goes."""

    source: Path
    target: Path
    compare: Path


@dataclass(frozen=True)
class Outcome:
    """What came of a photo.

    Attributes:
        job: the photo.
        failed: why there is no result; None if there is one.
        faces: number of faces found.
        adapted: whether the weights were adapted.
        size: width and height of the result.
        loss, psnr: share of the inner loss that adaptation removed on the faces, and the PSNR it added there, in dB.
        notes: what else a user should know.
    """

    job: Job
    failed: str | None = None
    faces: int = 0
    adapted: bool = False
    size: tuple[int, int] = (0, 0)
    loss: float = 0.0
    psnr: float = 0.0
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.failed is not None:
            return f'{self.job.source}: {self.failed}'
        faces = _count(self.faces, 'face') if self.faces else 'no face, restored unadapted'
        gain = f', {self.psnr:+.2f} dB on {"it" if self.faces == 1 else "them"}' if self.adapted else ''
        return ', '.join([f'{self.job.target}: {self.size[0]} x {self.size[1]}', faces + gain, *self.notes])


@dataclass
class Summary:
    """Counts of outcomes."""

    restored: int = 0
    adapted: int = 0
    faces: int = 0
    without: int = 0
    skipped: int = 0
    gains: list[float] = field(default_factory=list)
    failed: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        if outcome.failed is not None:
            self.failed.append(outcome)
            return
        self.restored += 1
        self.faces += outcome.faces
        self.without += outcome.faces == 0
        if outcome.adapted:
            self.adapted += 1
            self.gains.append(outcome.psnr)

    def __str__(self) -> str:
        gain = f' ({np.mean(self.gains):+.2f} dB on the faces in the mean)' if self.gains else ''
        parts = [
            f'{_count(self.restored, "photo")} restored, {_count(self.faces, "face")}, {self.adapted} adapted{gain}'
        ]
        parts += [f'{self.without} without a face, restored unadapted'] if self.without else []
        parts += [f'{self.skipped} skipped'] if self.skipped else []
        parts += [f'{len(self.failed)} failed'] if self.failed else []
        return ', '.join(parts)


def _count(number: int, what: str) -> str:
    return f'{number} {what}{"" if number == 1 else "s"}'


def collect(paths: Sequence[str | Path], out: str | Path, suffix: str | None = None) -> list[Job]:
    """Decides which photos are restored and where each result goes.

    Args:
        paths: files; folders, searched with their subfolders, which the results keep; patterns (``*``, ``?``, ``**``).
        out: folder of the results; where it lies inside a folder of photos, or fits a pattern, it is left out.
        suffix: of the results (``png``); None keeps that of each photo.

    Raises:
        DataError: nothing is found.
        OptionError: a result would overwrite its photo or another result, an unknown suffix, an empty path, or `out`
            is a file.
    """
    if not all(str(path) for path in paths):  # an unset variable of a shell; to pathlib, the current folder
        raise OptionError('one of the photos is given without a name; name files, folders or patterns.')
    out = Path(out).expanduser()
    if not out.is_dir() and (out.exists() or out.suffix.lower() in SUFFIXES):
        raise OptionError(f'{out} names a file; give a folder for the results.')
    if suffix is not None:
        suffix = '.' + suffix.lower().removeprefix('.')
        if suffix not in SUFFIXES:
            raise OptionError(f'format is {suffix[1:]!r}, expected one of {", ".join(s[1:] for s in SUFFIXES)}.')
    sources = {source.resolve(): (source, below) for path in paths for source, below in _find(path, out)}
    jobs: dict[Path, Job] = {}
    compared: set[Path] = set()
    for source, below in sources.values():
        name = below if suffix is None else below.with_suffix(suffix)
        short, long = below.with_suffix('.png'), below.with_name(f'{below.name}.png')
        compare = long if short in compared else short
        compared.add(compare)
        job = Job(source, out / name, out / COMPARE / compare)
        if job.target.resolve() == source.resolve():
            raise OptionError(f'{source} would be overwritten by its result; give another folder for the results.')
        other = jobs.setdefault(job.target, job)
        if other is not job:
            raise OptionError(f'{other.source} and {source} would both become {job.target}; restore them separately.')
    return list(jobs.values())


def _find(path: str | Path, out: Path) -> Iterator[tuple[Path, Path]]:
    """Files and their names below the folder of the results."""
    path = Path(path).expanduser()
    if path.is_dir():
        # Results of an earlier run, if they lie inside the folder, are not its photos.
        inside = _is_below(out, path)
        found = sorted(f for f in path.rglob('*') if _is_photo(f) and not (inside and _is_below(f, out)))
        if not found:
            raise DataError(f'{path} holds no photo ({", ".join(suffix[1:] for suffix in SUFFIXES)}).')
        yield from ((file, file.relative_to(path)) for file in found)
    elif path.exists() or not glob.has_magic(str(path)):
        yield path, Path(path.name)  # one that cannot be read is reported with the others
    else:
        files = sorted(map(Path, glob.glob(str(path), recursive=True)))
        found = [file for file in files if _is_photo(file) and not _is_below(file, out)]
        if not found:
            raise DataError(f'no photo fits {path}.')
        yield from ((file, Path(file.name)) for file in found)


def _is_photo(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith('.') and file.is_file()


def _is_below(file: Path, folder: Path) -> bool:
    return folder.resolve() in file.resolve().parents


def restore_photos(
    sr: MetaF2N,
    jobs: Sequence[Job],
    *,
    compare: bool = False,
    require_face: bool = False,
    outscale: float | None = None,
) -> Iterator[Outcome]:
    """Restores photos one after the other; reading the next and writing the last happens meanwhile.

    A photo that cannot be restored is an outcome too, and the others are done. Stopped at any moment, this leaves whole
    files only.

    Args:
        sr: restores a photo.
        jobs: from `collect`.
        compare: also writes the strip LQ | not adapted | adapted.
        require_face: a photo without a face fails.
        outscale: see `MetaF2N.__call__`.

    Yields:
        The outcome of each, in order, when its files are written.
    """
    with ThreadPoolExecutor(2) as pool:
        reading = [pool.submit(read_photo, job.source) for job in jobs[:1]]
        writing: Future[Outcome] | None = None
        for number, job in enumerate(jobs):
            reading += [pool.submit(read_photo, following.source) for following in jobs[number + 1 : number + 2]]
            try:
                photo = reading.pop(0).result()
                result = sr(photo.pixels, unadapted=compare, outscale=outscale, require_face=require_face)
                written = pool.submit(_write, job, photo, result, compare)
            except (DataError, ValueError, MemoryError, RuntimeError) as error:
                written = pool.submit(Outcome, job, _reason(error, job))
            if writing is not None:
                yield writing.result()
            writing = written
        if writing is not None:
            yield writing.result()


def _write(job: Job, photo: Photo, result: Restoration, compare: bool) -> Outcome:
    outcome = Outcome(
        job=job,
        faces=len(result.faces),
        adapted=result.adapted,
        size=(result.image.shape[1], result.image.shape[0]),
        notes=photo.notes,
    )
    if result.gain is not None and result.adapted:
        outcome = replace(outcome, loss=result.gain.loss, psnr=result.gain.psnr)
    elif result.gain is not None:
        outcome = replace(outcome, notes=(*photo.notes, 'adaptation led nowhere, restored unadapted: lower inner_lr'))
    try:
        if compare:
            assert result.unadapted is not None
            last = 'adapted' if result.adapted else 'not adapted: no face' if not result.faces else 'not adapted'
            write_photo(job.compare, Photo(comparison(photo.pixels, result.unadapted, result.image, last)))
        write_photo(job.target, replace(photo, pixels=result.image))
    except (DataError, MemoryError) as error:
        return Outcome(job, _reason(error, job))
    return outcome


def _reason(error: Exception, job: Job) -> str:
    """Why a photo failed, in one line that does not repeat its name."""
    text = (str(error).splitlines() or [''])[0]
    if isinstance(error, MemoryError) or 'memory' in text.lower():
        return 'not enough memory; give a smaller tile'
    if isinstance(error, (DataError, ValueError)):
        return text.removeprefix(str(job.source)).lstrip(': ')
    return f'{type(error).__name__}: {text}'


def comparison(lq: np.ndarray, unadapted: np.ndarray, adapted: np.ndarray, last: str = 'adapted') -> np.ndarray:
    """LQ | not adapted | adapted, in one (H, W, 3) uint8 RGB image, pixel by pixel: LQ enlarged without smoothing.

    `last` is the title of the last.
    """
    import cv2
    from PIL import Image, ImageDraw, ImageFont

    panels = [shown(each) for each in (lq, unadapted, adapted)]
    height, width = panels[1].shape[:2]
    panels[0] = cv2.resize(panels[0], (width, height), interpolation=cv2.INTER_NEAREST)
    gap, caption = 8, max(16, min(48, width // 20))
    sheet = Image.new('RGB', (3 * width + 2 * gap, height + 2 * caption), 'white')
    draw = ImageDraw.Draw(sheet)
    for number, (panel, title) in enumerate(zip(panels, ('LQ', 'not adapted', last))):
        left = number * (width + gap)
        draw.text((left + caption // 2, caption // 2), title, 'black', ImageFont.load_default(caption))
        sheet.paste(Image.fromarray(panel), (left, 2 * caption))
    return np.array(sheet)


def shown(image: np.ndarray) -> np.ndarray:
    """A photo as (H, W, 3) uint8, on white where it is transparent: what lies below may be anything."""
    colours = as_rgb(image).astype(np.float32) / np.iinfo(image.dtype).max
    if image.ndim == 3 and image.shape[2] in (2, 4):
        alpha = image[..., -1:].astype(np.float32) / np.iinfo(image.dtype).max
        colours = colours * alpha + 1 - alpha
    return np.round(colours * 255).astype(np.uint8)


def remove_done(jobs: Sequence[Job]) -> list[Job]:
    """The photos whose result is not there yet."""
    return [job for job in jobs if not os.path.exists(job.target)]
