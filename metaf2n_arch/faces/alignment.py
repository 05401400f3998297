"""Aligned faces: the square around a face, as in FFHQ, and the warps of the photo to it and back.

All matrices are (2, 3) and act on pixel coordinates whose integers are pixel centres, (0, 0) in the upper left.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from metaf2n_arch.faces.detector import Face

# Eyes, nose tip and mouth corners of an average FFHQ face at 512 x 512, which GPEN, GFPGAN and CodeFormer expect.
TEMPLATE_512 = np.array(
    [
        [192.98138, 239.94708],
        [318.90277, 240.19360],
        [256.63416, 314.01935],
        [201.26117, 371.41043],
        [313.08905, 371.15118],
    ]
)
# Side of the FFHQ square, and the distance of its centre above the box's centre, both in sides of the cascade's square
# box: medians over 16 faces of photos in which RetinaFace found landmarks as well.
BOX_SIDES, BOX_RISE = 1.6, 0.05


def template(size: int) -> np.ndarray:
    """Landmarks (5, 2) of an average aligned face of ``size`` x ``size``."""
    return (TEMPLATE_512 + 0.5) * (size / 512) - 0.5


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Returns the rotation, uniform scale and shift that map `source` to `target` with least squared error.

    Umeyama 1991, restricted to the plane and to no reflection: with points as complex numbers and means removed,
    ``target ≈ a · source`` has the solution ``a = Σ conj(source) target / Σ |source|²``.

    Args:
        source: (N, 2) points, not all equal.
        target: (N, 2) points.

    Returns:
        The matrix (2, 3).

    Raises:
        ValueError: all points of `source` are equal.

    >>> similarity(np.array([[0, 0], [1, 0]]), np.array([[1, 1], [1, 3]])).round(6).tolist()
    [[0.0, -2.0, 1.0], [2.0, 0.0, 1.0]]
    """
    z, w = source @ [1, 1j], target @ [1, 1j]
    centred = z - z.mean()
    energy = np.sum(np.abs(centred) ** 2)
    if not energy > 0:
        raise ValueError('all landmarks are the same point; a face needs landmarks that differ.')
    a = np.sum(centred.conj() * (w - w.mean())) / energy
    shift = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, shift.real], [a.imag, a.real, shift.imag]])


def face_matrix(face: Face, size: int) -> np.ndarray:
    """Returns the matrix that maps the image to the aligned face of ``size`` x ``size``.

    With five landmarks it is the similarity to the template. Without landmarks it maps an upright square around the
    box, as large as FFHQ's.
    """
    if face.landmarks is not None:
        return similarity(face.landmarks, template(size))
    width, height = face.size
    side = BOX_SIDES * max(width, height)
    x = (face.box[0] + face.box[2]) / 2
    y = (face.box[1] + face.box[3]) / 2 - BOX_RISE * max(width, height)
    return square_matrix(np.array([x - 0.5, y - 0.5]), np.array([side / 2, 0.0]), size)


def ffhq_square(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the square that FFHQ crops (Karras et al., CVPR 2019, appendix C).

    With eye centres e_l, e_r, mouth corners m_l, m_r and their means ē, m̄:
    ``x = normalise(e_r - e_l - rot90(m̄ - ē)) · max(2 |e_r - e_l|, 1.8 |m̄ - ē|)``, centre ``ē + 0.1 (m̄ - ē)``.

    Args:
        landmarks: (5, 2) eyes, nose tip, mouth corners; of each pair, the one on the image's left first.

    Returns:
        The centre (2,) and x (2,), half a side of the square, along its upper edge.

    Raises:
        ValueError: the axis of the square has length 0, as when eyes and mouth are the same point.
    """
    left_eye, right_eye, _, left_mouth, right_mouth = landmarks
    eyes, mouth = (left_eye + right_eye) / 2, (left_mouth + right_mouth) / 2
    across, down = right_eye - left_eye, mouth - eyes
    axis = across - np.array([-down[1], down[0]])
    length = float(np.hypot(*axis))
    if not length > 0:
        raise ValueError('eyes and mouth are the same point; a face needs landmarks that differ.')
    half = max(2 * float(np.hypot(*across)), 1.8 * float(np.hypot(*down)))
    return eyes + 0.1 * down, axis / length * half


def square_matrix(centre: np.ndarray, x: np.ndarray, size: int) -> np.ndarray:
    """Returns the matrix that maps the square ``centre ± x ± rot90(x)`` to an image of ``size`` x ``size``."""
    scale = size / (2 * float(np.hypot(*x)))
    cos, sin = x / np.hypot(*x)
    turn = scale * np.array([[cos, sin], [-sin, cos]])
    return np.column_stack([turn, (size - 1) / 2 - turn @ centre])


def ffhq_crop(image: np.ndarray, landmarks: np.ndarray, size: int) -> np.ndarray:
    """Crops a face as FFHQ does (Karras et al., CVPR 2019).

    Outside the photo the crop is mirrored, and fades first to a blurred crop, then to its median colour.

    Args:
        image: (H, W, 3) float32 RGB in [0, 1].
        landmarks: (5, 2), see `ffhq_square`.
        size: side of the result.

    Returns:
        (size, size, 3) float32 in [0, 1].
    """
    centre, x = ffhq_square(landmarks)
    matrix = square_matrix(centre, x, size)
    crop = warp(image, matrix, (size, size))
    height, width = image.shape[:2]
    corners = apply_matrix(invert(matrix), np.array([[0, 0], [size - 1, 0], [0, size - 1], [size - 1, size - 1]]))
    if corners.min() >= 0 and (corners <= [width - 1, height - 1]).all():
        return crop
    grid = np.stack(np.meshgrid(np.arange(size), np.arange(size)), axis=-1).reshape(-1, 2)
    outside = np.maximum(-(p := apply_matrix(invert(matrix), grid)), p - [width - 1, height - 1]).max(axis=1)
    depth = (outside / (0.3 * 2 * np.hypot(*x))).reshape(size, size, 1).astype(np.float32)
    blurred = cv2.GaussianBlur(crop, (0, 0), max(0.02 * size, 1e-3), borderType=cv2.BORDER_REFLECT_101)
    crop = crop + (blurred - crop) * np.clip(3 * depth + 1, 0, 1)
    crop = crop + (np.median(crop, axis=(0, 1)) - crop) * np.clip(depth, 0, 1)
    return np.clip(crop, 0, 1)


def warp(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resamples an image: bicubic, mirrored at the border, averaged over each new pixel when downscaling.

    Args:
        image: (H, W) or (H, W, 3) float32.
        matrix: (2, 3), maps `image` to the result.
        size: width and height of the result.

    Returns:
        float32, clipped to [0, 1].
    """
    scale = math.sqrt(abs(np.linalg.det(matrix[:, :2])))
    # Downscaling: the warp is made at a whole multiple of the size, then averaged, so that every pixel counts.
    fine = max(1, math.ceil(1 / scale - 1e-6)) if scale > 0 else 1
    lifted = compose(resize_matrix(fine), matrix)
    shape = size[0] * fine, size[1] * fine
    result = cv2.warpAffine(image, lifted, shape, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    if fine > 1:
        result = cv2.resize(result, size, interpolation=cv2.INTER_AREA)
    return np.clip(result, 0, 1)


def resize_matrix(factor: float) -> np.ndarray:
    """Returns the matrix from an image to the same image `factor` times as large."""
    return np.array([[factor, 0, (factor - 1) / 2], [0, factor, (factor - 1) / 2]])


def compose(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Returns the matrix that applies `first`, then `second`."""
    return np.column_stack([second[:, :2] @ first[:, :2], second[:, :2] @ first[:, 2] + second[:, 2]])


def invert(matrix: np.ndarray) -> np.ndarray:
    """Returns the inverse of `matrix`."""
    inverse = np.linalg.inv(matrix[:, :2])
    return np.column_stack([inverse, -inverse @ matrix[:, 2]])


def apply_matrix(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Maps points (N, 2)."""
    return points @ matrix[:, :2].T + matrix[:, 2]
