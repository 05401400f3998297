"""Faces of photos: copies with boxes, numbers and scores (``--list-faces``), and face crops (``--save-faces``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from metaf2n_arch.faces.detector import Detector, Face
from metaf2n_arch.faces.layout import save_pairs
from metaf2n_arch.faces.pairs import FacePair
from metaf2n_arch.images.arrays import to_8bit
from metaf2n_arch.images.photo import Photo
from metaf2n_arch.images.reading import read_photo
from metaf2n_arch.images.writing import write_photo
from metaf2n_arch.photos.jobs import Job
from metaf2n_arch.photos.outcomes import Outcome
from metaf2n_arch.photos.sheet import shown

FACES = 'faces'
"""Folder of saved face crops, inside the folder of the results."""


def list_faces(detector: Detector, jobs: Sequence[Job], skipped: Sequence[int] = ()) -> Iterator[Outcome]:
    """Writes a copy of each photo with its faces framed, instead of restoring it.

    Args:
        detector: finds the faces.
        jobs: the photos, and where their copies go.
        skipped: numbers of faces that ``--skip-faces`` leaves out; they are framed in grey.

    Yields:
        The outcome of each photo, with a note for each face. A photo that cannot be read is a failed outcome.
    """
    for job in jobs:
        try:
            photo = read_photo(job.file)
            image = to_8bit(shown(photo.pixels))
            faces = detector.detect(image)
            write_photo(job.target, Photo(framed(image, faces, skipped)))
        except Exception as error:  # an error of one photo must not stop the others
            text = (str(error).splitlines() or [type(error).__name__])[0]
            yield Outcome(job, text.removeprefix(str(job.source)).lstrip(': '))
            continue
        size = image.shape[1], image.shape[0]
        lines = tuple(_line(number, face, number in skipped) for number, face in enumerate(faces))
        yield replace(Outcome(job, faces=len(faces), size=size), notes=lines, listed=True)


def framed(image: np.ndarray, faces: Sequence[Face], skipped: Sequence[int] = ()) -> np.ndarray:
    """An (H, W, 3) uint8 RGB image with a frame, number and score for each face; those in `skipped` in grey."""
    from PIL import Image, ImageDraw, ImageFont

    sheet = Image.fromarray(image)
    draw = ImageDraw.Draw(sheet)
    width = max(1, max(image.shape[:2]) // 400)
    font = ImageFont.load_default(max(12, max(image.shape[:2]) // 60))
    for number, face in enumerate(faces):
        colour = 'grey' if number in skipped else 'lime'
        draw.rectangle(face.box, outline=colour, width=width)
        label = f'{number}: {face.score:.2f}'
        height = draw.textbbox((0, 0), label, font)[3] + 2
        place = max(0.0, face.box[0]), max(0.0, face.box[1] - height)  # above the face, not on it
        draw.rectangle((*place, place[0] + draw.textlength(label, font) + 4, place[1] + height), fill='black')
        draw.text((place[0] + 2, place[1]), label, colour, font)
    return np.array(sheet)


def save_faces(faces: Sequence[FacePair], out: Path, job: Job) -> None:
    """Writes the low-quality and restored face crops of a photo into the folder `FACES` inside `out`."""
    save_pairs(faces, out / FACES, job.target.relative_to(out).as_posix())


def _line(number: int, face: Face, skipped: bool) -> str:
    x0, y0, x1, y1 = (round(value) for value in face.box)
    return f'{number}: {x0},{y0} {x1 - x0} x {y1 - y0} score {face.score:.2f}{" skipped" if skipped else ""}'
