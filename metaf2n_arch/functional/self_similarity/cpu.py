"""The CPU path: images of a batch one after the other, each in bands of rows, by the numba kernels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from metaf2n_arch.functional.self_similarity.cpu_stream import Stream, threads
from metaf2n_arch.functional.self_similarity.criterion import CriterionWeights, Gradients, Wanted
from metaf2n_arch.functional.self_similarity.geometry import Geometry


def require() -> None:
    """Raises `ImportError` if numba's compiler is switched off."""
    import numba

    if vars(numba.config)['DISABLE_JIT']:
        raise ImportError('NUMBA_DISABLE_JIT is set, but the kernels must be compiled')


def graph(image: Tensor, mask: Tensor, geometry: Geometry, h: float, normalize: bool) -> Tensor:
    """S or S̄ of the masked pixels of a (B, C, H, W) batch: (K², M)."""
    images = image.numpy()
    out = np.empty((geometry.search_size**2, int(mask.sum())), images.dtype)
    first = 0
    with threads() as run:
        for x, m in zip(images, mask.numpy()):
            stream = Stream(run, [x], m, geometry, h)
            for band in stream.bands:
                last = first + len(band.positions)
                out[:, first:last] = stream.graph(band, normalize)
                first = last
    return torch.from_numpy(out)


def graph_gradient(
    image: Tensor, mask: Tensor, graph: Tensor, upstream: Tensor, geometry: Geometry, h: float, normalize: bool
) -> Tensor:
    """The gradient of the batch (B, C, H, W) from `graph` and the gradient `upstream` of it, both (K², M)."""
    images, s, g = (x.detach().numpy() for x in (image, graph, upstream))
    out = np.empty(images.shape, images.dtype)
    first = 0
    with threads() as run:
        for b, (x, m) in enumerate(zip(images, mask.numpy())):
            stream = Stream(run, [x], m, geometry, h)
            for band in stream.bands:
                last = first + len(band.positions)
                part = s[:, first:last], g[:, first:last]
                stream.back(band, np.ascontiguousarray(part[0]), np.ascontiguousarray(part[1]), normalize)
                first = last
            out[b] = stream.gradient(0)
    return torch.from_numpy(out)


def loss(
    pred: Tensor, target: Tensor, mask: Tensor, geometry: Geometry, h: float, weights: CriterionWeights, wanted: Wanted
) -> tuple[Tensor, Gradients]:
    """The mean difference of both batches' graphs over all M K² entries, and its gradients where `wanted`."""
    images = [x.numpy() for x in (pred, target)]
    gradients = [np.zeros_like(x) if want else None for x, want in zip(images, wanted)]
    factor = 1 / (max(int(mask.sum()), 1) * geometry.search_size**2)
    total = 0.0
    with threads() as run:
        for b, m in enumerate(mask.numpy()):
            stream = Stream(run, [images[0][b], images[1][b]], m, geometry, h)
            for band in stream.bands:
                total += stream.difference(band, weights, factor, wanted)
            for which, gradient in enumerate(gradients):
                if gradient is not None:
                    gradient[b] = stream.gradient(which)
    first, second = (None if g is None else torch.from_numpy(g) for g in gradients)
    return pred.new_tensor(total * factor), (first, second)
