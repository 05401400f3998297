"""The fused paths as autograd sees them, whichever device's kernels do the work.

The loss computes its gradient along with its value, so that nothing but the image's gradient is kept for the backward.
A gradient that is to be differentiated again (``create_graph=True``) comes from the box filters instead.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from metaf2n_arch.functional.self_similarity.box import box_graph, box_loss
from metaf2n_arch.functional.self_similarity.criterion import Gradients, Wanted, Weights
from metaf2n_arch.functional.self_similarity.geometry import Geometry, accumulation_dtype


class Kernels(Protocol):
    """What a device has to offer; images are (B, C, H, W) in float32 or float64, masks (B, H, W), graphs (K², M)."""

    def graph(self, image: Tensor, mask: Tensor, geometry: Geometry, h: float, normalize: bool) -> Tensor:
        """S or S̄ of the masked pixels."""

    def graph_gradient(
        self,
        image: Tensor,
        mask: Tensor,
        graph: Tensor,
        upstream: Tensor,
        geometry: Geometry,
        h: float,
        normalize: bool,
    ) -> Tensor:
        """The image's gradient for a gradient `upstream` of its graph."""

    def loss(
        self, pred: Tensor, target: Tensor, mask: Tensor, geometry: Geometry, h: float, weights: Weights, wanted: Wanted
    ) -> tuple[Tensor, Gradients]:
        """The mean difference of both graphs, and its gradients where `wanted`."""


def fused_graph(
    kernels: Kernels, image: Tensor, mask: Tensor, geometry: Geometry, h: float, normalize: bool = True
) -> Tensor:
    """Computes the graph of the masked pixels; arguments and result as in `box_graph`."""
    return _Graph.apply(image, mask, geometry, h, normalize, kernels)


def fused_loss(
    kernels: Kernels, pred: Tensor, target: Tensor, mask: Tensor, geometry: Geometry, h: float, weights: Weights
) -> Tensor:
    """Computes the loss without keeping a graph; arguments and result as in `box_loss`."""
    wanted = (torch.is_grad_enabled() and pred.requires_grad, torch.is_grad_enabled() and target.requires_grad)
    return _Loss.apply(pred, target, mask, geometry, h, weights, wanted, kernels)


class _Graph(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, image: Tensor, mask: Tensor, geometry: Geometry, h: float, normalize: bool, kernels: Kernels
    ) -> Tensor:
        wide = image.detach().to(accumulation_dtype(image.dtype))
        graph = kernels.graph(wide, mask, geometry, h, normalize).t()
        ctx.options = (geometry, h, normalize)
        ctx.kernels = kernels
        ctx.save_for_backward(image, mask, graph)
        return graph

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        image, mask, graph = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: this gradient will be differentiated in its turn
            again = box_graph(image, mask, *ctx.options)
            (gradient,) = torch.autograd.grad(again, image, upstream, create_graph=True)
        else:
            wide = image.to(graph.dtype)
            gradient = ctx.kernels.graph_gradient(wide, mask, graph.t(), upstream.to(graph.dtype).t(), *ctx.options)
        return gradient.to(image.dtype), None, None, None, None, None


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
        wanted: Wanted,
        kernels: Kernels,
    ) -> Tensor:
        dtype = accumulation_dtype(torch.promote_types(pred.dtype, target.dtype))
        images = pred.detach().to(dtype), target.detach().to(dtype)
        value, gradients = kernels.loss(images[0], images[1], mask, geometry, h, weights, wanted)
        ctx.options = (geometry, h, weights)
        ctx.save_for_backward(pred, target, mask, *gradients)
        return value

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
        return (*result, None, None, None, None, None, None)
