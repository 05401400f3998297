"""Autograd functions of the fused paths, for the kernels of any device.

The loss computes its gradient together with its value, so that only the image's gradient is kept for the backward.
`_Scaled` lets that gradient be differentiated again. For the graph, a gradient that is to be differentiated again
(``create_graph=True``) comes from the box filters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from metaf2n_arch.functional.self_similarity.box import box_graph, box_loss
from metaf2n_arch.functional.self_similarity.criterion import CriterionWeights, Gradients, Wanted
from metaf2n_arch.functional.self_similarity.geometry import Geometry, accumulation_dtype

LossOptions: TypeAlias = tuple[Geometry, float, CriterionWeights]


class Kernels(Protocol):
    """Kernels of a device. Images are (B, C, H, W) in float32 or float64, masks (B, H, W), graphs (K², M)."""

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
        self,
        pred: Tensor,
        target: Tensor,
        mask: Tensor,
        geometry: Geometry,
        h: float,
        weights: CriterionWeights,
        wanted: Wanted,
    ) -> tuple[Tensor, Gradients]:
        """The mean difference of both graphs, and its gradients where `wanted`."""


def fused_graph(
    kernels: Kernels, image: Tensor, mask: Tensor, geometry: Geometry, h: float, normalize: bool = True
) -> Tensor:
    """Computes the graph of the masked pixels; arguments and result as in `box_graph`."""
    return _Graph.apply(image, mask, geometry, h, normalize, kernels)


def fused_loss(
    kernels: Kernels,
    pred: Tensor,
    target: Tensor,
    mask: Tensor,
    geometry: Geometry,
    h: float,
    weights: CriterionWeights,
) -> Tensor:
    """Computes the loss without keeping a graph; arguments and result as in `box_loss`."""
    wanted = (torch.is_grad_enabled() and pred.requires_grad, torch.is_grad_enabled() and target.requires_grad)
    return _Loss.apply(pred, target, mask, (geometry, h, weights), wanted, kernels)[0]


def one_after_the_other(
    apply: Callable[..., tuple[Tensor, ...]], info: Any, in_dims: tuple[Any, ...], args: tuple[Any, ...]
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """The rule for `torch.func.vmap`: one call for each element, because their numbers of masked pixels differ."""
    calls = [
        apply(*(a.select(d, i) if isinstance(d, int) else a for a, d in zip(args, in_dims)))
        for i in range(info.batch_size)
    ]
    results = tuple(torch.stack(parts) for parts in zip(*calls))
    return results, (0,) * len(results)


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
        if torch.is_grad_enabled():  # create_graph=True: this gradient will be differentiated again
            again = box_graph(image, mask, *ctx.options)
            (gradient,) = torch.autograd.grad(again, image, upstream, create_graph=True)
        else:
            wide = image.to(graph.dtype)
            gradient = ctx.kernels.graph_gradient(wide, mask, graph.t(), upstream.to(graph.dtype).t(), *ctx.options)
        return gradient.to(image.dtype), None, None, None, None, None


class _Loss(torch.autograd.Function):
    """The loss and its gradients with respect to both images; a gradient that is not wanted is empty."""

    @staticmethod
    def forward(
        pred: Tensor, target: Tensor, mask: Tensor, options: LossOptions, wanted: Wanted, kernels: Kernels
    ) -> tuple[Tensor, Tensor, Tensor]:
        dtype = accumulation_dtype(torch.promote_types(pred.dtype, target.dtype))
        images = pred.detach().to(dtype), target.detach().to(dtype)
        value, gradients = kernels.loss(images[0], images[1], mask, *options, wanted)
        first, second = (value.new_empty(0) if g is None else g for g in gradients)
        return value, first, second

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        pred, target, mask, ctx.options, ctx.wanted, ctx.kernels = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(pred, target, mask, *output[1:])

    @staticmethod
    def backward(ctx: Any, upstream: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        pred, target, mask, *gradients = ctx.saved_tensors
        asked = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        if any(ask and not had for ask, had in zip(asked, ctx.wanted)):
            # Inside `vmap` an image does not say that its gradient will be asked for.
            gradients = _Loss.apply(pred.detach(), target.detach(), mask, ctx.options, asked, ctx.kernels)[1:]
        found = _Scaled.apply(upstream, pred, target, mask, *gradients, ctx.options)
        parts = [g.to(x.dtype) if ask else None for x, g, ask in zip((pred, target), found, asked)]
        return (*parts, None, None, None, None)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> Any:
        return one_after_the_other(_Loss.apply, info, in_dims, args)


class _Scaled(torch.autograd.Function):
    """The gradients u ∇L of both images, given ∇L. Their own derivative is computed by the box filters.

    This is a separate operation, so that the graph of the first derivative, which ``create_graph=True`` and
    `torch.func.grad` record, costs nothing until it is used.
    """

    @staticmethod
    def forward(
        upstream: Tensor,
        pred: Tensor,
        target: Tensor,
        mask: Tensor,
        of_pred: Tensor,
        of_target: Tensor,
        options: LossOptions,
    ) -> tuple[Tensor, Tensor]:
        return upstream * of_pred, upstream * of_target

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.options = inputs[-1]
        ctx.having = [g.numel() > 0 for g in output]
        ctx.save_for_backward(*inputs[:4])

    @staticmethod
    def backward(ctx: Any, *directions: Tensor) -> tuple[Tensor | None, ...]:
        """u ⟨v, ∇L⟩ differentiated with respect to u and to both images."""
        upstream, pred, target, mask = ctx.saved_tensors
        further = torch.is_grad_enabled()
        with torch.enable_grad():
            # Inside `vmap` an image does not say that a gradient is asked for.
            images = [
                x.detach().requires_grad_() if had and not x.requires_grad else x.view_as(x)
                for x, had in zip((pred, target), ctx.having)
            ]
            loss = box_loss(images[0], images[1], mask, *ctx.options)
            having = [x for x, had in zip(images, ctx.having) if had]
            chosen = [v for v, had in zip(directions, ctx.having) if had]
            gradients = torch.autograd.grad(loss, having, create_graph=True)
            along = torch.stack([(v * g).sum() for v, g in zip(chosen, gradients)]).sum()
            asked = [x for x, ask in zip(images, ctx.needs_input_grad[1:3]) if ask]
            found = iter(torch.autograd.grad(upstream * along, asked, create_graph=further) if asked else ())
        parts = [next(found) if ask else None for ask in ctx.needs_input_grad[1:3]]
        of_upstream = along if further else along.detach()
        return (of_upstream.to(upstream.dtype), *parts, None, None, None, None)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> Any:
        return one_after_the_other(_Scaled.apply, info, in_dims, args)
