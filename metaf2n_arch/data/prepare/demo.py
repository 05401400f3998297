"""The demo's data: photographs that come with scikit-image and matplotlib, laid out as MetaF2N's data sets expect
them."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from metaf2n_arch.degradation import DegradationConfig, apply
from metaf2n_arch.faces.detector import Face
from metaf2n_arch.faces.detectors import build_detector
from metaf2n_arch.images.arrays import to_tensor, to_uint8
from metaf2n_arch.images.reading import read_image
from metaf2n_arch.images.writing import write_image
from metaf2n_arch.utils.rng import numpy_generator

VALIDATION_KEY = 20_260_000
"""Key of the validation draws; training draws are keyed by (seed, epoch, position) and never meet it."""

RECIPE = 2
"""Counts the ways in which this file has made its folders: another way is another folder."""


def training_photos() -> dict[str, np.ndarray]:
    """Returns the photographs of training, (H, W, 3) uint8 RGB by name; they are files of installed packages."""
    import matplotlib
    from skimage import data

    hopper = Path(matplotlib.get_data_path()) / 'sample_data' / 'grace_hopper.jpg'
    left, _, _ = data.stereo_motorcycle()
    return {
        'hopper': read_image(hopper),
        'cat': data.chelsea(),
        'coffee': data.coffee(),
        'rocket': data.rocket(),
        'motorcycle': left,
    }


def prepare_training(root: Path, face_size: int = 256) -> Path:
    """Writes ``faces/`` and ``naturals/`` into a folder of its own under `root` unless they are there; returns it.

    Naturals are five photographs. Faces are Grace Hopper's and, because one face is too few to learn from, windows of
    the photographs in place of others.
    """

    def fill(folder: Path) -> None:
        photos = training_photos()
        _folders(folder, 'naturals', 'faces')
        for name, photo in photos.items():
            write_image(folder / 'naturals' / f'{name}.png', photo)
        write_image(folder / 'faces' / 'hopper.png', _square_face(photos['hopper'], face_size))
        for name, photo in photos.items():
            for side, window in zip(('left', 'right'), _windows(photo, face_size)):
                write_image(folder / 'faces' / f'{name}_{side}.png', window)

    return _once(folder_of(root, {'face_size': face_size}), fill)


def prepare_validation(root: Path, config: DegradationConfig, draws: int) -> Path:
    """Writes ``GT/ LQ/ Face_LQ/ Face_HQ/`` into a folder of its own under `root` unless they are there: the astronaut,
    degraded by `draws` draws; returns the folder.

    Neither the photograph nor the draws occur in training. The faces' high-quality side is cut from the photograph
    itself: no restorer's weights come with any package. ``draws.json`` holds what was drawn, and the configuration.
    """
    described = validation_settings(config, draws)

    def fill(folder: Path) -> None:
        from skimage import data

        photo = data.astronaut()
        photo = photo[: photo.shape[0] // config.scale * config.scale, : photo.shape[1] // config.scale * config.scale]
        box = _inner_box(_largest_face(photo), photo.shape[:2], config.scale)
        drawn = {}
        _folders(folder, 'GT', 'LQ', 'Face_LQ', 'Face_HQ')
        for number in range(draws):
            params = config.sample(numpy_generator(VALIDATION_KEY, number))
            name = f'astronaut_{number}'
            lq = to_uint8(apply(to_tensor(photo)[None], params)[0])
            write_image(folder / 'GT' / f'{name}.png', photo)
            write_image(folder / 'LQ' / f'{name}.png', lq)
            write_image(folder / 'Face_HQ' / f'{name}_0.png', _cut(photo, box))
            write_image(folder / 'Face_LQ' / f'{name}_0.png', _cut(lq, [v // config.scale for v in box]))
            drawn[name] = params.to_dict()
        text = json.dumps({**described, 'images': drawn}, indent=1)
        (folder / 'draws.json').write_text(text, encoding='utf-8')

    return _once(folder_of(root, described), fill)


def validation_settings(config: DegradationConfig, draws: int) -> dict[str, Any]:
    """Everything that the files of `prepare_validation` depend on."""
    return {'config': config.model_dump(mode='json'), 'draws': draws}


def folder_of(root: Path, settings: Mapping[str, Any]) -> Path:
    """A folder under `root` for these settings alone, so that no run moves what another one with others reads."""
    text = json.dumps({'recipe': RECIPE, **settings}, sort_keys=True)
    return root / hashlib.sha256(text.encode()).hexdigest()[:12]


def _once(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Fills a folder beside its place and moves it there whole, so that an interrupted run leaves nothing half-made."""
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f'.{folder.name}-') as scratch:
        made = Path(scratch) / folder.name
        made.mkdir()
        fill(made)
        try:
            made.rename(folder)
        except OSError:  # another process was faster; what it made is the same
            if not folder.is_dir():
                raise
    return folder


def _windows(photo: np.ndarray, side: int) -> list[np.ndarray]:
    """The two windows of `side` x `side` at the left and at the right, half-way down."""
    top = (photo.shape[0] - side) // 2
    return [photo[top : top + side, left : left + side] for left in (0, photo.shape[1] - side)]


def _folders(root: Path, *names: str) -> None:
    for name in names:
        (root / name).mkdir()


def _largest_face(photo: np.ndarray) -> Face:
    faces = build_detector('cascade').detect(photo)
    return max(faces, key=lambda face: face.size[0] * face.size[1])


def _square_face(photo: np.ndarray, side: int) -> np.ndarray:
    """The face with some hair and collar around it, as aligned face sets show it, resized to a square of `side`."""
    import cv2

    x0, y0, x1, y1 = _largest_face(photo).box
    half = 0.8 * max(x1 - x0, y1 - y0)
    cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
    top, left = max(0, round(cy - half)), max(0, round(cx - half))
    cut = photo[top : round(cy + half), left : round(cx + half)]
    length = min(cut.shape[:2])
    return cv2.resize(cut[:length, :length], (side, side), interpolation=cv2.INTER_AREA)


def _inner_box(face: Face, size: tuple[int, int], scale: int) -> list[int]:
    """The box with half its length around it, within the photograph, as multiples of the scale: y0, x0, y1, x1."""
    x0, y0, x1, y1 = face.box
    margin = 0.25 * max(x1 - x0, y1 - y0)
    low = [max(0, int(v - margin)) // scale * scale for v in (y0, x0)]
    high = [min(limit, int(v + margin)) // scale * scale for v, limit in zip((y1, x1), size)]
    return [*low, *high]


def _cut(photo: np.ndarray, box: list[int]) -> np.ndarray:
    y0, x0, y1, x1 = box
    return photo[y0:y1, x0:x1]
