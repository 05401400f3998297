"""Face pairs on the disk: the layout of prepared test sets, faces named ``<image>_<i>.png``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metaf2n_arch.faces.pairs import FacePair
from metaf2n_arch.images.arrays import to_uint8
from metaf2n_arch.images.writing import write_image

FOLDERS = ('Face_LQ', 'Face_HQ')


def save_pairs(pairs: Sequence[FacePair], root: Path, image: str) -> list[dict[str, Any]]:
    """Writes the pairs of one image to ``root/Face_LQ`` and ``root/Face_HQ`` as 8-bit PNG; no file is written in part.

    Faces of the same image from an earlier run are removed.

    Args:
        pairs: from left to right.
        root: folder of the prepared set.
        image: name of the image below ``root/LQ``, with or without its suffix; subfolders are kept.

    Returns:
        A record per face, for JSON: `file`, `box`, `landmarks`, `score`.

    Raises:
        DataError: a file cannot be written.
    """
    remove_pairs(root, image)
    stem = Path(image).with_suffix('').as_posix()
    records = []
    for number, pair in enumerate(pairs):
        file = f'{stem}_{number}.png'
        for folder, picture in zip(FOLDERS, (pair.lq, pair.hq)):
            write_image(root / folder / file, to_uint8(picture))
        records.append({'file': file, **face_record(pair)})
    return records


def has_pairs(root: Path, records: Sequence[dict[str, Any]]) -> bool:
    """Whether all files of these records exist."""
    return all((root / folder / record['file']).is_file() for folder in FOLDERS for record in records)


def remove_pairs(root: Path, image: str) -> None:
    """Removes the files of the faces of one image."""
    stem = Path(image).with_suffix('')
    own = re.compile(re.escape(stem.name) + r'_\d+\.png')
    for folder in FOLDERS:
        for path in (root / folder / stem.parent).glob('*.png'):
            if own.fullmatch(path.name):
                path.unlink()


def face_record(pair: FacePair) -> dict[str, Any]:
    """Box, landmarks and score of a face as plain numbers."""
    landmarks = None if pair.landmarks is None else pair.landmarks.round(2).tolist()
    return {'box': list(pair.box), 'landmarks': landmarks, 'score': round(pair.score, 4)}
