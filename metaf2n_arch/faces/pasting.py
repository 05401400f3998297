"""Pasted faces: the restorer's faces blended into the result with the soft mask of their aligned frame."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from metaf2n_arch.faces.alignment import apply_matrix, invert
from metaf2n_arch.faces.pairs import FacePair, warp_back

SOFT_RIM = 0.1
"""Width of the passage from a pasted face to its surroundings, as a share of the aligned frame."""


def pasted_strips(
    strips: Iterable[Tensor], faces: Sequence[FacePair], size: tuple[int, int], scale: int, strength: float
) -> Iterator[Tensor]:
    """Blends restored faces into a result that comes strip by strip.

    Args:
        strips: (1, 3, h, s·W) in [0, 1], from top to bottom, h a multiple of s.
        faces: those that hold `aligned` are pasted.
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
            pasted = warp_back(face.aligned, face.matrix, box, scale, background, SOFT_RIM)
            after = torch.from_numpy(np.ascontiguousarray(pasted.transpose(2, 0, 1))).to(strip)
            strip[0, :, rows, columns] = before + strength * (after - before)
        yield strip
        top = bottom


def _reach(face: FacePair, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The box of whole pixels of the photo round the aligned frame."""
    if face.aligned is None or face.matrix is None:
        return 0, 0, 0, 0
    side = face.aligned.shape[0]
    corners = apply_matrix(invert(face.matrix), np.array([[0, 0], [side, 0], [0, side], [side, side]]) - 0.5)
    left, top = np.floor(corners.min(0)).astype(int).tolist()
    right, bottom = (math.ceil(value) + 1 for value in corners.max(0))
    return max(0, left), max(0, top), min(size[1], right), min(size[0], bottom)
