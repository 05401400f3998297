"""The oracle: one graph through both loops, differentiated by autograd, and what the two ways of asking differ by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metaf2n_arch.meta import InnerLoss, OuterTerm, Params


@dataclass(frozen=True)
class Unrolled:
    theta: Params
    phi: Params
    rates: Params
    loss: Tensor


def unrolled_gradient(
    theta: Params,
    phi: Params,
    inner_loss: InnerLoss,
    outer_loss: OuterTerm,
    inner_lr: float | Params,
    inner_steps: int = 1,
    adapt_only: Sequence[str] | None = None,
    weights: Sequence[float] | None = None,
    second_order: bool = True,
) -> Unrolled:
    """Builds the inner updates with `create_graph` and differentiates the weighted outer losses in one go."""
    names = list(theta) if adapt_only is None else list(adapt_only)
    weights = [0.0] * (inner_steps - 1) + [1.0] if weights is None else weights
    leaf = {name: p.detach().clone().requires_grad_() for name, p in theta.items()}
    leaf_phi = {name: p.detach().clone().requires_grad_() for name, p in phi.items()}
    number = torch.tensor(inner_lr if isinstance(inner_lr, float) else 0.0, dtype=torch.float64)
    rate = {name: inner_lr[name] if isinstance(inner_lr, dict) else number for name in names}
    rate = {name: r.detach().to(theta[name].dtype).requires_grad_() for name, r in rate.items()}
    current, total = dict(leaf), torch.zeros(())
    for step in range(inner_steps):
        gradient = torch.autograd.grad(
            inner_loss(current, leaf_phi), [current[name] for name in names], create_graph=second_order
        )
        current = {**current, **{name: current[name] - rate[name] * g for name, g in zip(names, gradient)}}
        if weights[step]:
            total = total + weights[step] * outer_loss(current, leaf_phi, step + 1)
    every = [*leaf.values(), *leaf_phi.values(), *rate.values()]
    found = torch.autograd.grad(total, every, materialize_grads=True)
    parts = [dict(zip(group, found[start:])) for group, start in ((leaf, 0), (leaf_phi, len(leaf)))]
    return Unrolled(parts[0], parts[1], dict(zip(rate, found[len(leaf) + len(leaf_phi) :])), total.detach())


def relative_difference(found: Params, wanted: Params) -> float:
    """The greatest norm of a tensor's error, as a part of the norm of all wanted tensors together."""
    assert found.keys() == wanted.keys()
    scale = torch.stack([w.double().norm() for w in wanted.values()]).norm()
    worst = max(((found[name] - w).double().norm() for name, w in wanted.items()), default=torch.tensor(0.0))
    return float(worst / scale) if scale > 0 else float(worst)
