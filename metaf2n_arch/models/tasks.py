"""Tasks of meta-learning: makes support and query batches from the faces, images and degradation of the data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from metaf2n_arch.degradation import DegradationParams, apply, apply_batch
from metaf2n_arch.faces.restorer import Restorer
from metaf2n_arch.images.arrays import bicubic_up
from metaf2n_arch.meta.support import crop


@dataclass(frozen=True)
class Task:
    """A task: images with one common degradation, RGB in [0, 1]; s is the scale.

    Attributes:
        support_lq: patches of degraded faces, (N, 3, h, w), for the inner loop.
        support_hq: the same patches of the restored faces, (N, 3, s·h, s·w), or of the high-quality faces.
        query_lq: degraded natural images, (N, 3, H / s, W / s), for the outer loss.
        query_gt: the natural images, (N, 3, H, W).
    """

    support_lq: Tensor
    support_hq: Tensor
    query_lq: Tensor
    query_gt: Tensor


def make_tasks(batch: Mapping[str, Any], scale: int, restorer: Restorer | None, device: torch.device) -> Iterator[Task]:
    """Yields the tasks of a batch: degrades the images, restores the faces and crops them, on the device.

    The restorer gets whole faces, as it was trained, and all faces of the batch at once. The support patches are
    cropped afterwards. Without a restorer the target of the support is the high-quality face itself.

    Args:
        batch: a collated batch of `MetaF2NDataset`: ``face`` (B, N, 3, h, w), ``face_crop`` (B, N, 4) as y, x, height,
            width in high-resolution pixels, ``gt`` (B, N, 3, H, W), ``degradation``; images are RGB in [0, 1].
        scale: upscaling factor s.
        restorer: the frozen face restorer, or None.
        device: device of the model.
    """
    faces = batch['face'].to(device)
    naturals = batch['gt'].to(device)
    draws = DegradationParams.unbatch(batch['degradation'])
    faces_lq = apply_batch(faces, batch['degradation'])
    targets = faces if restorer is None else _restore(faces_lq, scale, restorer)
    for b, draw in enumerate(draws):
        boxes = batch['face_crop'][b].tolist()
        yield Task(
            support_lq=torch.stack([crop(f, *(v // scale for v in box)) for f, box in zip(faces_lq[b], boxes)]),
            support_hq=torch.stack([crop(f, *box) for f, box in zip(targets[b], boxes)]),
            query_lq=apply(naturals[b], draw, stream=1),  # the same kernels, factors and qualities, but other noise
            query_gt=naturals[b],
        )


def _restore(faces_lq: Tensor, scale: int, restorer: Restorer) -> Tensor:
    """(B, N, 3, h, w) -> (B, N, 3, s·h, s·w): bicubic upscaling, then the frozen restorer, in one batch."""
    flat = faces_lq.flatten(0, 1)
    return restorer.restore(bicubic_up(flat, scale)).unflatten(0, faces_lq.shape[:2])
