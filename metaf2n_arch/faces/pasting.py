"""Pasted faces: restored faces, blended into the result inside a soft ellipse of the aligned face.

The corners of an aligned face show hair and background, which the generator restores better than a face restorer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from metaf2n_arch.faces.alignment import apply_matrix, invert
from metaf2n_arch.faces.pairs import FacePair, warp_back

CENTRE = 0.5, 0.57
"""Centre x, y of the ellipse, in sides of the aligned face: the eyes are at y = 0.47, the mouth at 0.72."""
AXES = 0.3, 0.36
"""Half axes x, y of the ellipse, in sides of the aligned face: from cheek to cheek, from the hairline to the chin."""
SOFT = 0.3
"""Share of the radius over which the face blends into its surroundings."""


def pasted_strips(
    strips: Iterable[Tensor], faces: Sequence[FacePair], size: tuple[int, int], scale: int, strength: float
) -> Iterator[Tensor]:
    """Blends restored faces into a result that comes strip by strip.

    Args:
        strips: (1, 3, h, s·W) RGB in [0, 1], from top to bottom, h a multiple of s; changed in place.
        faces: the faces; those without `aligned` are not pasted.
        size: height and width of the photo.
        scale: s.
        strength: share of the restored face, 0 to 1.
    """
    top = 0
    for strip in strips:
        bottom = top + strip.shape[-2] // scale
        for face in faces if strength > 0 else ():
            box = _reach(face, size)
            box = box[0], max(box[1], top), box[2], min(box[3], bottom)
            if face.aligned is None or face.matrix is None or box[0] >= box[2] or box[1] >= box[3]:
                continue
            rows = slice((box[1] - top) * scale, (box[3] - top) * scale)
            columns = slice(box[0] * scale, box[2] * scale)
            before = strip[0, :, rows, columns]
            background = before.permute(1, 2, 0).cpu().numpy()
            pasted = warp_back(face.aligned, face.matrix, box, scale, background)
            mixed = background + strength * ellipse(face, box, scale) * (pasted - background)
            strip[0, :, rows, columns] = torch.from_numpy(mixed.transpose(2, 0, 1).copy()).to(strip)
        yield strip
        top = bottom


def ellipse(face: FacePair, box: tuple[int, int, int, int], scale: int) -> np.ndarray:
    """Returns the weight of a pasted face, (s h, s w, 1) float32, at the place of `box` in the upscaled photo."""
    assert face.aligned is not None
    assert face.matrix is not None
    y, x = np.mgrid[box[1] * scale : box[3] * scale, box[0] * scale : box[2] * scale].astype(np.float32)
    points = np.stack([(x.ravel() + 0.5) / scale - 0.5, (y.ravel() + 0.5) / scale - 0.5], 1)
    frame = (apply_matrix(face.matrix, points) + 0.5) / face.aligned.shape[0]
    radius = np.hypot((frame[:, 0] - CENTRE[0]) / AXES[0], (frame[:, 1] - CENTRE[1]) / AXES[1])
    return np.clip((1 - radius) / SOFT, 0, 1).reshape(*x.shape, 1).astype(np.float32)


def _reach(face: FacePair, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The box of whole pixels of the photo around the aligned face; empty if the face has no `aligned`."""
    if face.aligned is None or face.matrix is None:
        return 0, 0, 0, 0
    side = face.aligned.shape[0]
    corners = apply_matrix(invert(face.matrix), np.array([[0, 0], [side, 0], [0, side], [side, side]]) - 0.5)
    left, top = np.floor(corners.min(0)).astype(int).tolist()
    right, bottom = (math.ceil(value) + 1 for value in corners.max(0))
    return max(0, left), max(0, top), min(size[1], right), min(size[0], bottom)
