"""Face pairs: each face of a photo, and that face restored on the grid of the upscaled photo (MetaF2N, section 3.2)."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from metaf2n_arch.faces.alignment import compose, face_matrix, invert, resize_matrix, warp
from metaf2n_arch.faces.detector import Detector, Face
from metaf2n_arch.faces.restorer import Restorer
from metaf2n_arch.images.arrays import bicubic_up
from metaf2n_arch.utils.progress import Progress, silent

# Side of the aligned face if the restorer accepts any size.
ANY_SIZE = 512
# Width of the soft rim over which the restored face blends into the upscaled photo, as a share of the aligned face.
RIM = 0.04
# Most faces that are aligned and restored at once.
AT_ONCE = 4


@dataclass(frozen=True, eq=False)
class FacePair:
    """A face and its restoration.

    Attributes:
        lq: (3, h, w) float32 RGB in [0, 1]: the photo inside `box`, unchanged.
        hq: (3, s h, s w) float32 RGB in [0, 1]: the restored face, at its place in the upscaled photo.
        box: x0, y0, x1, y1, whole pixels of the photo, inside it.
        landmarks: (5, 2) in pixels of the photo, or None if the detector finds none.
        score: the detector's confidence.
        aligned: the restored aligned face, (S, S, 3) float32, with `keep_aligned`; else None.
        matrix: (2, 3), maps the photo to the aligned face, with `keep_aligned`; else None.
    """

    lq: Tensor
    hq: Tensor
    box: tuple[int, int, int, int]
    landmarks: np.ndarray | None
    score: float
    aligned: np.ndarray | None = None
    matrix: np.ndarray | None = None


def face_pairs(
    image: np.ndarray,
    detector: Detector,
    restorer: Restorer,
    scale: int,
    *,
    skipped: Collection[int] = (),
    keep_aligned: bool = False,
    progress: Progress = silent,
) -> list[FacePair]:
    """Detects the faces of a photo, restores them, and warps them to the grid of the upscaled photo.

    Except for the pairs themselves, memory does not grow with the number of faces.

    Args:
        image: (H, W, 3) RGB: uint8, uint16, or floats in [0, 1].
        detector: finds the faces.
        restorer: restores the faces, on its own device.
        scale: s, the upscaling factor of the photo.
        skipped: numbers of faces to leave out, counted from 0 from left to right.
        keep_aligned: whether the pairs also hold the restored aligned faces.
        progress: is called for the ``search``, then for the ``faces`` that are restored.

    Returns:
        One pair per face, from left to right; empty if there is no face.

    Raises:
        ValueError: `image` has another shape or dtype, or `scale` is no whole number of 1 or more.

    >>> from metaf2n_arch.faces.detectors import build_detector
    >>> from metaf2n_arch.faces.restorers import build_restorer
    >>> face_pairs(np.zeros((64, 64, 3), np.uint8), build_detector('cascade'), build_restorer('identity'), scale=4)
    []
    """
    if scale < 1 or scale != int(scale):
        raise ValueError(f'scale is {scale}, expected a whole number of 1 or more.')
    photo = to_float(image)
    bytes_ = image if image.dtype == np.uint8 else (photo * 255).round().astype(np.uint8)
    progress('search', 0, 1)
    faces = [face for number, face in enumerate(detector.detect(bytes_)) if number not in skipped]
    progress('search', 1, 1)
    boxes = [clip_box(face.box, photo.shape[1], photo.shape[0]) for face in faces]
    inside = [(face, box) for face, box in zip(faces, boxes) if box[0] < box[2] and box[1] < box[3]]
    if not inside:
        return []
    size = restorer.size or ANY_SIZE
    matrices = [face_matrix(face, size) for face, _ in inside]
    pairs: list[FacePair] = []
    progress('faces', 0, len(inside))
    for first in range(0, len(inside), AT_ONCE):
        some = slice(first, first + AT_ONCE)
        aligned = np.stack([warp(photo, matrix, (size, size)) for matrix in matrices[some]])
        for (face, box), matrix, restored in zip(inside[some], matrices[some], restore_aligned(aligned, restorer)):
            pair = _pair(photo, face, box, matrix, restored, int(scale))
            pairs.append(replace(pair, aligned=restored.copy(), matrix=matrix) if keep_aligned else pair)
        progress('faces', len(pairs), len(inside))
    return pairs


def restore_aligned(faces: np.ndarray, restorer: Restorer) -> np.ndarray:
    """Restores aligned faces (N, S, S, 3) RGB in [0, 1] on the restorer's device.

    On a CPU they are restored one after the other, because a batch is not faster there and needs more memory.
    """
    parameter = next(restorer.parameters(), None)
    device = torch.device('cpu') if parameter is None else parameter.device
    batch = torch.from_numpy(faces).permute(0, 3, 1, 2).contiguous().to(device)
    parts = batch.split(1) if device.type == 'cpu' and not restorer.batch else [batch]
    return torch.cat([restorer.restore(part) for part in parts]).permute(0, 2, 3, 1).cpu().numpy()


def warp_back(
    restored: np.ndarray,
    matrix: np.ndarray,
    box: tuple[int, int, int, int],
    scale: int,
    background: np.ndarray,
    rim: float = RIM,
) -> np.ndarray:
    """Warps a restored aligned face to the place of `box` in the upscaled photo.

    Args:
        restored: (S, S, 3) float32 in [0, 1].
        matrix: maps the photo to the aligned face.
        box: x0, y0, x1, y1, whole pixels of the photo.
        scale: s.
        background: (s h, s w, 3) float32: the pixels outside the aligned face.
        rim: width of the blend between both, as a share of the aligned face.

    Returns:
        (s h, s w, 3) float32 in [0, 1].
    """
    size = restored.shape[0]
    shift = np.array([[1.0, 0.0, -box[0] * scale], [0.0, 1.0, -box[1] * scale]])
    back = compose(shift, compose(resize_matrix(scale), invert(matrix)))
    shape = (box[2] - box[0]) * scale, (box[3] - box[1]) * scale
    face = warp(restored, back, shape)
    weight = _rim_weight(invert(back), shape, size, rim)
    return face * weight + background * (1 - weight)


def clip_box(box: tuple[float, float, float, float], width: int, height: int) -> tuple[int, int, int, int]:
    """Returns the smallest box of whole pixels around `box` inside an image.

    >>> clip_box((-3.2, 4.7, 20.1, 40.0), 32, 30)
    (0, 4, 21, 30)
    """
    x0, y0, x1, y1 = box
    return max(0, math.floor(x0)), max(0, math.floor(y0)), min(width, math.ceil(x1)), min(height, math.ceil(y1))


def to_float(image: np.ndarray) -> np.ndarray:
    """Returns an image (H, W, 3) of uint8, uint16 or floats as float32 in [0, 1]."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype.kind not in 'uf':
        raise ValueError(f'image is {image.dtype} {image.shape}, expected (H, W, 3) RGB: uint8, uint16 or floats.')
    if image.dtype.kind == 'u':
        return np.ascontiguousarray(image.astype(np.float32) / np.iinfo(image.dtype).max)
    return np.ascontiguousarray(np.clip(image, 0, 1).astype(np.float32))


def _pair(
    photo: np.ndarray, face: Face, box: tuple[int, int, int, int], matrix: np.ndarray, restored: np.ndarray, scale: int
) -> FacePair:
    x0, y0, x1, y1 = box
    lq = torch.from_numpy(photo[y0:y1, x0:x1].copy()).permute(2, 0, 1).contiguous()
    enlarged = bicubic_up(lq[None], scale)[0]
    hq = warp_back(restored, matrix, box, scale, enlarged.permute(1, 2, 0).numpy())
    return FacePair(lq, torch.from_numpy(hq).permute(2, 0, 1).contiguous(), box, face.landmarks, face.score)


def _rim_weight(to_face: np.ndarray, shape: tuple[int, int], size: int, rim: float) -> np.ndarray:
    """(h, w, 1): 1 inside the aligned face, 0 outside, linear over the rim."""
    y, x = np.mgrid[0 : shape[1], 0 : shape[0]].astype(np.float32)
    u = to_face[0, 0] * x + to_face[0, 1] * y + to_face[0, 2] + 0.5
    v = to_face[1, 0] * x + to_face[1, 1] * y + to_face[1, 2] + 0.5
    depth = np.minimum(np.minimum(u, size - u), np.minimum(v, size - v)) / (rim * size)
    return np.clip(depth, 0, 1).astype(np.float32)[:, :, None]
