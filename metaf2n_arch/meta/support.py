"""Support set of the inner loop: patches of faces, and the confidence-weighted L1 loss on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from metaf2n_arch.meta.params import Params

Pair = tuple[Tensor, Tensor]


def weighted_l1(
    generate: Callable[[Params, Tensor], Tensor],
    confidence: Callable[[Params, Tensor, Tensor], Tensor],
    lq: Tensor,
    hq: Tensor,
) -> Callable[[Params, Params], Tensor]:
    """The inner loss of MetaF2N (Yin et al., ICCV 2023), L_in(θ, φ) = mean(W_φ · |Y - G_θ(X)|).

    Args:
        generate: (θ, X) -> G_θ(X).
        confidence: (φ, X, Y) -> W, (N, 1, H, W).
        lq: X, faces from the photo, (N, 3, h, w) RGB in [0, 1].
        hq: Y, the same faces restored, (N, 3, s·h, s·w).

    Returns:
        (θ, φ) -> scalar, the inner loss for `adapt` and `meta_gradient`.
    """

    def inner_loss(theta: Params, phi: Params) -> Tensor:
        return (confidence(phi, lq, hq) * (hq - generate(theta, lq)).abs()).mean()

    return inner_loss


def random_patches(faces: Sequence[Pair], count: int, size: int, rng: np.random.Generator) -> Pair | None:
    """Cuts `count` random patches from each face pair, all of one size, into one batch.

    As in the authors' program, a face with a side shorter than the patch is left out. If all faces are so small, the
    largest one is used as a whole.

    Args:
        faces: (lq, hq) per face, (3, h, w) and (3, s·h, s·w).
        count: patches per face.
        size: side of a patch in low-quality pixels.
        rng: random generator for the positions.

    Returns:
        (lq, hq), (M, 3, size, size) and (M, 3, s·size, s·size); None without faces.

    >>> faces = [(torch.rand(3, 20, 30), torch.rand(3, 80, 120))]
    >>> [tuple(x.shape) for x in random_patches(faces, 16, 8, np.random.default_rng(0))]
    [(16, 3, 8, 8), (16, 3, 32, 32)]
    """
    if not faces:
        return None
    large = [(lq, hq) for lq, hq in faces if min(lq.shape[-2:]) >= size]
    if not large:
        lq, hq = max(faces, key=lambda pair: pair[0].numel())
        return lq[None], hq[None]
    lqs, hqs = [], []
    for lq, hq in large:
        scale = hq.shape[-1] // lq.shape[-1]
        tops = rng.integers(0, lq.shape[-2] - size, endpoint=True, size=count)
        lefts = rng.integers(0, lq.shape[-1] - size, endpoint=True, size=count)
        for y, x in zip(tops, lefts):
            lqs.append(crop(lq, y, x, size, size))
            hqs.append(crop(hq, y * scale, x * scale, size * scale, size * scale))
    return torch.stack(lqs), torch.stack(hqs)


def crop(image: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """The window of (..., H, W) at (top, left)."""
    return image[..., int(top) : int(top) + int(height), int(left) : int(left) + int(width)]
