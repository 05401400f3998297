"""Data of the demo: photographs of scikit-image and matplotlib, in the layouts of MetaF2N's data sets."""

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
"""Random key of the validation draws; it differs from all keys (seed, epoch, position) of training draws."""

RECIPE = 2
"""Version of the files that this module makes; another version gets another folder."""


def training_photos() -> dict[str, np.ndarray]:
    """Returns name -> photograph for training, (H, W, 3) uint8 RGB; they are files of installed packages."""
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
    """Writes ``faces/`` and ``naturals/`` into a subfolder of `root`, if it does not exist yet; returns the subfolder.

    The natural images are five photographs. The faces are that of Grace Hopper and, because one face is too few for
    training, crops of the photographs instead of more faces.
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
    """Writes ``GT/ LQ/ Face_LQ/ Face_HQ/`` into a subfolder of `root`, if it does not exist yet; returns the subfolder.

    It holds scikit-image's astronaut with `draws` different degradations. Neither the photograph nor the degradations
    occur in training. The high-quality faces are cropped from the photograph itself, because no package contains the
    weights of a restorer. ``draws.json`` holds the draws and their configuration.
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
    """Returns all settings that the files of `prepare_validation` depend on."""
    return {'config': config.model_dump(mode='json'), 'draws': draws}


def folder_of(root: Path, settings: Mapping[str, Any]) -> Path:
    """Returns the subfolder of `root` for these settings; other settings get another one, so runs do not interfere."""
    text = json.dumps({'recipe': RECIPE, **settings}, sort_keys=True)
    return root / hashlib.sha256(text.encode()).hexdigest()[:12]


def _once(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Fills a temporary folder and renames it, so that an interrupted run leaves no incomplete folder."""
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f'.{folder.name}-') as scratch:
        made = Path(scratch) / folder.name
        made.mkdir()
        fill(made)
        try:
            made.rename(folder)
        except OSError:  # another process was faster and has made the same files
            if not folder.is_dir():
                raise
    return folder


def _windows(photo: np.ndarray, side: int) -> list[np.ndarray]:
    """Two crops of `side` x `side` pixels, at the left and at the right border, at half height."""
    top = (photo.shape[0] - side) // 2
    return [photo[top : top + side, left : left + side] for left in (0, photo.shape[1] - side)]


def _folders(root: Path, *names: str) -> None:
    for name in names:
        (root / name).mkdir()


def _largest_face(photo: np.ndarray) -> Face:
    faces = build_detector('cascade').detect(photo)
    return max(faces, key=lambda face: face.size[0] * face.size[1])


def _square_face(photo: np.ndarray, side: int) -> np.ndarray:
    """A square crop of the largest face with a margin, as in data sets of aligned faces, resized to `side` pixels."""
    import cv2

    x0, y0, x1, y1 = _largest_face(photo).box
    half = 0.8 * max(x1 - x0, y1 - y0)
    cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
    top, left = max(0, round(cy - half)), max(0, round(cx - half))
    cut = photo[top : round(cy + half), left : round(cx + half)]
    length = min(cut.shape[:2])
    return cv2.resize(cut[:length, :length], (side, side), interpolation=cv2.INTER_AREA)


def _inner_box(face: Face, size: tuple[int, int], scale: int) -> list[int]:
    """The box of a face, with a margin of a quarter of its longer side, inside the photograph.

    Returns:
        y0, x0, y1, x1 as multiples of the scale.
    """
    x0, y0, x1, y1 = face.box
    margin = 0.25 * max(x1 - x0, y1 - y0)
    low = [max(0, int(v - margin)) // scale * scale for v in (y0, x0)]
    high = [min(limit, int(v + margin)) // scale * scale for v, limit in zip((y1, x1), size)]
    return [*low, *high]


def _cut(photo: np.ndarray, box: list[int]) -> np.ndarray:
    y0, x0, y1, x1 = box
    return photo[y0:y1, x0:x1]
