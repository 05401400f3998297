"""Operator of the loss for `torch.compile`, which calls it as a whole and does not trace numba or Triton."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from metaf2n_arch.functional.self_similarity.box import box_loss
from metaf2n_arch.functional.self_similarity.criterion import CriterionWeights
from metaf2n_arch.functional.self_similarity.geometry import Geometry, accumulation_dtype

_SCHEMA = (
    '(Tensor pred, Tensor target, Tensor mask, '
    'int search_size, int patch_size, str border, float h, float kl, float l1, bool want_pred, bool want_target) '
    '-> (Tensor, Tensor, Tensor)'
)
Loss = Callable[..., Tensor]


def register(loss: Loss) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    """Registers ``metaf2n::self_similarity_loss``: the loss with both its gradients, empty where they are not wanted.

    Args:
        loss: (pred, target, mask, K, P, border, h, kl, l1) -> scalar, differentiable; checks its arguments itself.
    """

    def compute(pred: Tensor, target: Tensor, mask: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
        def work() -> tuple[Tensor, Tensor, Tensor]:
            images = [x.detach().requires_grad_(want) for x, want in zip((pred, target), rest[-2:])]
            value = loss(images[0], images[1], mask, *rest[:-2])
            asked = [x for x in images if x.requires_grad]
            found = iter(torch.autograd.grad(value, asked) if asked else ())
            wide = [next(found).to(value.dtype) if x.requires_grad else value.new_empty(0) for x in images]
            return value.detach().clone(), wide[0].contiguous(), wide[1].contiguous()

        with ThreadPoolExecutor(1) as pool:  # autograd is switched off inside an operator, for its thread only
            return pool.submit(work).result()

    operator = torch.library.custom_op('metaf2n::self_similarity_loss', compute, mutates_args=(), schema=_SCHEMA)
    operator.register_fake(_fake)
    operator.register_autograd(_backward, setup_context=_keep)
    return operator


def _fake(pred: Tensor, target: Tensor, mask: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    dtype = accumulation_dtype(torch.promote_types(pred.dtype, target.dtype))
    first, second = (x.new_empty(x.shape if want else (0,), dtype=dtype) for x, want in zip((pred, target), rest[-2:]))
    return pred.new_empty((), dtype=dtype), first, second


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    ctx.options, ctx.wanted = inputs[3:9], inputs[9:]
    ctx.save_for_backward(*inputs[:3], *output[1:])


def _backward(ctx: Any, upstream: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    pred, target, mask, *gradients = ctx.saved_tensors
    if torch.is_grad_enabled():  # create_graph=True: this gradient will be differentiated again
        search, patch, border, h, kl, l1 = ctx.options
        again = box_loss(pred, target, mask, Geometry(search, patch, border), h, CriterionWeights(kl, l1))
        asked = [x for x, want in zip((pred, target), ctx.wanted) if want]
        found = iter(torch.autograd.grad(again, asked, upstream, create_graph=True))
        parts = [next(found) if want else None for want in ctx.wanted]
    else:
        parts = [
            (g * upstream).to(x.dtype) if want else None for x, g, want in zip((pred, target), gradients, ctx.wanted)
        ]
    return (*parts, *[None] * 9)
