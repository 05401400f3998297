"""The CPU path as autograd sees it: graph and loss by fused numba kernels.

The loss computes its gradient along with its value, so that nothing but the image's gradient is kept for the backward.
A gradient that is to be differentiated again (``create_graph=True``) comes from the box filters instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from metaf2n_arch.functional.self_similarity.box import box_graph, box_loss
from metaf2n_arch.functional.self_similarity.cpu_stream import Stream, threads
from metaf2n_arch.functional.self_similarity.criterion import Weights
from metaf2n_arch.functional.self_similarity.geometry import Geometry, accumulation_dtype


def cpu_graph(image: Tensor, mask: Tensor, geometry: Geometry, h: float, normalize: bool = True) -> Tensor:
    """Computes the graph of the masked pixels; arguments and result as in `box_graph`."""
    return _Graph.apply(image, mask, geometry, h, normalize)


def cpu_loss(pred: Tensor, target: Tensor, mask: Tensor, geometry: Geometry, h: float, weights: Weights) -> Tensor:
    """Computes the loss without keeping a graph; arguments and result as in `box_loss`."""
    wanted = (torch.is_grad_enabled() and pred.requires_grad, torch.is_grad_enabled() and target.requires_grad)
    return _Loss.apply(pred, target, mask, geometry, h, weights, wanted)


class _Graph(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, mask: Tensor, geometry: Geometry, h: float, normalize: bool) -> Tensor:
        wide = _array(image)
        graph = np.empty((geometry.search_size**2, int(mask.sum())), wide.dtype)
        first = 0
        with threads() as run:
            for x, m in zip(wide, mask.numpy()):
                stream = Stream(run, [x], m, geometry, h)
                for band in stream.bands:
                    graph[:, first : first + len(band.positions)] = stream.graph(band, normalize)
                    first += len(band.positions)
        ctx.options = (geometry, h, normalize)
        result = torch.from_numpy(graph).t()
        ctx.save_for_backward(image, mask, result)
        return result

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        image, mask, graph = ctx.saved_tensors
        geometry, h, normalize = ctx.options
        if torch.is_grad_enabled():  # create_graph=True: this gradient will be differentiated in its turn
            again = box_graph(image, mask, geometry, h, normalize)
            return (*torch.autograd.grad(again, image, upstream, create_graph=True), None, None, None, None)
        s, g = (x.detach().to(graph.dtype).t().numpy() for x in (graph, upstream))
        result = np.empty(tuple(image.shape), s.dtype)
        first = 0
        with threads() as run:
            for b, (x, m) in enumerate(zip(_array(image), mask.numpy())):
                stream = Stream(run, [x], m, geometry, h)
                for band in stream.bands:
                    pixels = slice(first, first + len(band.positions))
                    stream.back(band, np.ascontiguousarray(s[:, pixels]), np.ascontiguousarray(g[:, pixels]), normalize)
                    first += len(band.positions)
                result[b] = stream.gradient(0)
        return torch.from_numpy(result).to(image.dtype), None, None, None, None


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        pred: Tensor,
        target: Tensor,
        mask: Tensor,
        geometry: Geometry,
        h: float,
        weights: Weights,
        wanted: tuple[bool, bool],
    ) -> Tensor:
        dtype = accumulation_dtype(torch.promote_types(pred.dtype, target.dtype))
        images = [_array(x, dtype) for x in (pred, target)]
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
        ctx.options = (geometry, h, weights)
        ctx.save_for_backward(pred, target, mask, *(None if g is None else torch.from_numpy(g) for g in gradients))
        return pred.new_tensor(total * factor, dtype=dtype)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        pred, target, mask, *gradients = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: this gradient will be differentiated in its turn
            again = box_loss(pred, target, mask, *ctx.options)
            asked = [x for x, g in zip((pred, target), gradients) if g is not None]
            found = iter(torch.autograd.grad(again, asked, upstream, create_graph=True))
            result = [None if g is None else next(found) for g in gradients]
        else:
            result = [None if g is None else (g * upstream).to(x.dtype) for x, g in zip((pred, target), gradients)]
        return (*result, None, None, None, None, None)


def _array(image: Tensor, dtype: torch.dtype | None = None) -> np.ndarray:
    """The image in the precision it is computed in, as a NumPy array."""
    return image.detach().to(dtype or accumulation_dtype(image.dtype)).numpy()
