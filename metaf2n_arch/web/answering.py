"""Answers of the web page: from an upload and the settings of the controls to a text, pictures and a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metaf2n_arch.photos.outcomes import decibels
from metaf2n_arch.utils.checks import DataError, OptionError
from metaf2n_arch.utils.progress import Progress, silent

if TYPE_CHECKING:
    from metaf2n_arch.inference import MetaF2N, Restoration

SHOWN_SIDE = 2000
"""Longest side of a picture on the page, in pixels; the file for download has the full size."""

Panel = tuple[np.ndarray, str]
Two = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Wishes:
    """The settings of the page's controls.

    Attributes:
        color_fix: see `RestoreOptions`.
        step: ``auto``, ``fixed`` (with the step size `inner_lr`) or ``none``.
        inner_lr: step size of a fixed step.
        faces: faces to adapt to: ``all`` or ``largest``.
        skip_faces: numbers of faces to leave out, separated by commas.
        paste_faces: see `RestoreOptions`.
    """

    color_fix: str = 'lowfreq'
    step: str = 'auto'
    inner_lr: float = 0.01
    faces: str = 'all'
    skip_faces: str = ''
    paste_faces: float = 0.0

    def options(self) -> dict[str, Any]:
        """The same settings as fields of `RestoreOptions`.

        Raises:
            OptionError: `skip_faces` is not a list of numbers.

        >>> Wishes(step='none').options()['inner_steps']
        0
        """
        skipped = [part.strip() for part in str(self.skip_faces or '').split(',') if part.strip()]
        if not all(part.isdecimal() for part in skipped):
            raise OptionError(f'"leave out" is {self.skip_faces!r}, expected numbers of faces, such as 0,2.')
        options: dict[str, Any] = {'color_fix': self.color_fix, 'paste_faces': self.paste_faces or 0.0}
        options['skip_faces'] = tuple(int(part) for part in skipped)
        if self.step == 'none':
            return {**options, 'inner_steps': 0}
        return {**options, 'inner_lr': self.inner_lr if self.step == 'fixed' else 'auto', 'learned_rates': False}


@dataclass
class Answer:
    """Contents of the page for one photo.

    Attributes:
        text: what happened, in one line.
        slider: the enlarged photo, and the result.
        steps: the result without and with adaptation; None if not adapted.
        faces: pictures of the faces, with captions.
        file: path of the result for download; None after an error.
    """

    text: str
    slider: Two | None = None
    steps: Two | None = None
    faces: list[Panel] = field(default_factory=list)
    file: str | None = None


def answer(
    sr: MetaF2N,
    upload: str | Path | None,
    place: str | Path,
    max_pixels: float,
    wishes: Wishes | None = None,
    progress: Progress = silent,
) -> Answer:
    """Restores an upload. Errors are not raised, but become the text of the answer.

    Args:
        sr: restores photos.
        upload: the uploaded file; None if there is none.
        place: folder for the result; created if it does not exist.
        max_pixels: largest photo in megapixels, checked before the picture is decoded.
        wishes: settings of the controls; None keeps the options of `sr`.
        progress: see `Progress`.
    """
    from metaf2n_arch.images.formats import SUFFIXES
    from metaf2n_arch.images.reading import image_size, read_photo
    from metaf2n_arch.images.writing import write_photo

    if upload is None:
        return Answer('No photo. Upload one first.')
    path = Path(upload)
    try:
        if wishes is not None:
            sr = sr.with_options(max_faces=1 if wishes.faces == 'largest' else None, **wishes.options())
        height, width = image_size(path, path.name)
        if height * width > max_pixels * 1e6:
            size = f'{width} x {height}'
            return Answer(f'{path.name} is {size}, {height * width / 1e6:.1f} megapixels; the limit is {max_pixels:g}.')
        photo = read_photo(path)
        result = sr(photo.pixels, unadapted=True, progress=progress)
        suffix = path.suffix.lower() if path.suffix.lower() in SUFFIXES else '.png'
        target = Path(place) / f'{path.stem}_restored{suffix}'
        write_photo(target, replace(photo, pixels=result.image))
    except (DataError, OptionError, ValueError, MemoryError, RuntimeError, OSError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        return Answer(f'Error: {line.replace(str(path), path.name)}')
    panels = face_panels(result, sr.options.skip_faces, sr.mask is not None)
    text = describe(result) if sr.options.finds_faces else 'Restored without adaptation.'
    return Answer(text, before_and_after(photo.pixels, result), both_steps(result), panels, str(target))


def describe(result: Restoration) -> str:
    """What happened to a photo, in one line."""
    if not result.faces:
        return 'No face found: restored without adaptation.'
    number = f'{len(result.faces)} face{"" if len(result.faces) == 1 else "s"} found'
    if result.gain is None or not result.adapted:
        return f'{number}, restored without adaptation{f": {result.reason}" if result.reason else ""}.'
    where = 'it' if len(result.faces) == 1 else 'them'
    gain = f'{decibels(result.gain.psnr)} and removed {round(result.gain.loss, 3) + 0.0:.1%} of the loss'  # never -0.0%
    step = f', with a step size of {result.inner_lr:g}' if result.inner_lr is not None else ''
    return f'{number}. On {where}, adaptation gained {gain}{step}.'


def before_and_after(photo: np.ndarray, result: Restoration) -> Two:
    """The enlarged photo and its result, each (H, W, 3) uint8 RGB."""
    import cv2

    from metaf2n_arch.photos.sheet import shown

    after = fitted(shown(result.image))
    return cv2.resize(shown(photo), after.shape[1::-1], interpolation=cv2.INTER_CUBIC), after


def both_steps(result: Restoration) -> Two | None:
    """The result without and with adaptation, each (H, W, 3) uint8 RGB; None if not adapted."""
    from metaf2n_arch.photos.sheet import shown

    if result.unadapted is None or not result.adapted:
        return None
    return fitted(shown(result.unadapted)), fitted(shown(result.image))


def fitted(image: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3), shrunk if its longer side is more than `SHOWN_SIDE`."""
    import cv2

    factor = SHOWN_SIDE / max(image.shape[:2])
    if factor >= 1:
        return image
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def face_panels(result: Restoration, skipped: Sequence[int] = (), masked: bool = True) -> list[Panel]:
    """Captioned pictures of each face: low-quality crop, restored face, and the confidence map if there is a MaskNet.

    Args:
        result: of a photo.
        skipped: numbers of faces that were left out, so that the captions count like ``--list-faces``.
        masked: whether there is a MaskNet. White in a confidence map is the largest confidence.
    """
    from metaf2n_arch.images.arrays import to_uint8

    numbers = (number for number in count() if number not in skipped)
    panels = []
    for number, face in zip(numbers, result.faces):
        panels.append((to_uint8(face.lq), f'face {number}, score {face.score:.2f}'))
        panels.append((to_uint8(face.hq), 'restored'))
    if not masked:
        return panels
    maps = []
    for confidence in result.confidence:
        grey = np.round(255 * confidence / max(1.0, float(confidence.max()))).astype(np.uint8)
        maps.append((np.repeat(grey[..., None], 3, axis=2), f'confidence, mean {confidence.mean():.2f}'))
    return [panel for i, third in enumerate(maps) for panel in (*panels[2 * i : 2 * i + 2], third)]
