"""The demo's data: photographs that come with scikit-image and matplotlib, laid out as MetaF2N's data sets expect
them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

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
    """Writes ``faces/`` and ``naturals/`` under `root` unless they are there: Grace Hopper's face and five
    photographs."""

    def fill(folder: Path) -> None:
        photos = training_photos()
        _folders(folder, 'naturals', 'faces')
        for name, photo in photos.items():
            write_image(folder / 'naturals' / f'{name}.png', photo)
        write_image(folder / 'faces' / 'hopper.png', _square_face(photos['hopper'], face_size))

    return _once(root, fill)


def prepare_validation(root: Path, config: DegradationConfig, draws: int) -> Path:
    """Writes ``GT/ LQ/ Face_LQ/ Face_HQ/`` under `root` unless they are there: the astronaut, degraded by `draws`
    draws.

    Neither the photograph nor the draws occur in training. The faces' high-quality side is cut from the photograph
    itself: no restorer's weights come with any package. ``draws.json`` holds what was drawn, and the configuration; a
    folder made with another configuration is made anew.
    """
    described = {'config': config.model_dump(mode='json'), 'draws': draws}
    record = root / 'draws.json'

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

    def up_to_date() -> bool:
        stored = json.loads(record.read_text(encoding='utf-8'))
        return {key: stored.get(key) for key in described} == described

    return _once(root, fill, up_to_date)


def _once(root: Path, fill: Callable[[Path], None], up_to_date: Callable[[], bool] = lambda: True) -> Path:
    """Fills a folder beside its place and moves it there whole, so that an interrupted run leaves nothing half-made."""
    if root.is_dir():
        if up_to_date():
            return root
        root.rename(root.with_name(f'{root.name}_archived_{_next_number(root)}'))
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=f'.{root.name}-') as scratch:
        made = Path(scratch) / root.name
        made.mkdir()
        fill(made)
        try:
            made.rename(root)
        except OSError:  # another process was faster; what it made is the same
            if not root.is_dir():
                raise
    return root


def _folders(root: Path, *names: str) -> None:
    for name in names:
        (root / name).mkdir()


def _next_number(root: Path) -> int:
    return len(list(root.parent.glob(f'{root.name}_archived_*')))


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
