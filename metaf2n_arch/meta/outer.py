"""Meta-gradient: the exact gradient of the outer loss through the inner loop, without a graph over both."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from metaf2n_arch.meta.curvature import ROUTES, contracted_curvature
from metaf2n_arch.meta.inner import adapt
from metaf2n_arch.meta.params import (
    InnerLosses,
    OuterTerm,
    OuterTerms,
    Params,
    Rates,
    added,
    detached,
    gradient_of,
    learned,
    leaves,
    names_to_adapt,
    pieces,
    rate_of,
)
from metaf2n_arch.meta.scaling import LossScale
from metaf2n_arch.meta.schedule import check_step_weights
from metaf2n_arch.utils.checks import require_choice

MODES = ('first', 'first_mask', 'second')


@dataclass(frozen=True)
class MetaGradient:
    """The gradient of one task; no tensor of it belongs to a graph.

    Attributes:
        theta: the gradient by each parameter of the network.
        phi: the gradient by each entry of `phi`.
        inner_lr: the gradient by each learned inner rate, or `None` if none is learned.
        outer_losses: the outer loss, unweighted, at each step whose weight is not zero, in order of steps.
        inner_losses: the inner loss before each step.
        fast_params: all parameters after the last step.
    """

    theta: Params
    phi: Params
    inner_lr: Params | None
    outer_losses: list[Tensor]
    inner_losses: list[Tensor]
    fast_params: Params

    @cached_property
    def finite(self) -> bool:
        """Whether all losses and gradients are finite; computed at the first access, which waits for the device."""
        tensors = [*self.theta.values(), *self.phi.values(), *(self.inner_lr or {}).values()]
        flags = [t.isfinite().all() for t in [*self.outer_losses, *self.inner_losses, *tensors]]
        return bool(torch.stack([flag.to(flags[0].device) for flag in flags]).all())


def meta_gradient(
    theta: Params,
    phi: Params,
    inner_loss: InnerLosses,
    outer_loss: OuterTerms,
    *,
    inner_lr: Rates,
    inner_steps: int = 1,
    mode: str = 'second',
    adapt_only: Collection[str] | None = None,
    step_weights: Sequence[float] | None = None,
    curvature: str = 'auto',
    keep_graph: bool = False,
    loss_scale: float = 1.0,
) -> MetaGradient:
    """Differentiates ``L = sum_k w_k L_out(theta_k, phi)`` through the inner loop (MetaF2N, Yin et al. 2023, eq. 6-8).

    With ``g_k`` the gradient of the outer loss at theta_k, H the Hessian of the inner loss and a the inner rate:

        v_K = w_K g_K,    v_k = w_k g_k + (I - H(theta_k) a) v_{k+1},    dL/dtheta = v_0
        dL/dphi = dL_out/dphi - sum_k (d2 L_in(theta_k) / dphi dtheta) a v_{k+1}
        dL/da_i = - sum_k <v_{k+1, i}, grad_i L_in(theta_k)>

    Only the parameters of each inner step are kept. Each product with H is taken from a graph of one inner loss, so
    that memory does not grow with the number of steps.

    Args:
        theta: the network's parameters by name. Never changed.
        phi: other tensors that the losses depend on: MaskNet's parameters, or the confidence map itself (the caller
            then computes the map once, and back-propagates its gradient through MaskNet).
        inner_loss: ``(theta, phi) -> scalar``, or a sequence of terms whose sum is the loss.
        outer_loss: ``(theta_k, phi, k) -> scalar`` with k the number of steps taken (1 to `inner_steps`), or a sequence
            of terms whose sum is the loss. It may depend on `phi` directly.
        inner_lr: the inner rate, or one for each adapted tensor; rates that require a gradient get one (Meta-SGD, Li et
            al. 2017). Any shape that broadcasts to the tensor's.
        inner_steps: K.
        mode: ``second`` is exact; ``first_mask`` drops H and keeps the mixed derivative; ``first`` drops both: the
            gradient by `phi` is then dL_out/dphi alone.
        adapt_only: names of the parameters that the inner loop changes, see `select`; `None` for all.
        step_weights: w_1 to w_K; `None` for the last step only.
        curvature: how products with second derivatives are taken, see `contracted_curvature`; all routes are exact.
        keep_graph: keeps the graph of the last inner step while the outer loss is differentiated, instead of building
            it again: less time, but the memory of both graphs at once. Useful if the outer loss is given in terms.
        loss_scale: a power of two. Losses are multiplied by it and gradients divided by it, see `LossScale`; for
            networks that compute in float16.

    Raises:
        ValueError: an unknown mode or name, a wrong number of weights, or a loss that depends on no adapted tensor.

    >>> theta, inner = {'w': torch.tensor(3.0)}, lambda theta, phi: theta['w'] ** 2 / 2
    >>> result = meta_gradient(theta, {}, inner, lambda theta, phi, step: theta['w'] ** 2, inner_lr=0.5)
    >>> result.outer_losses[0], result.theta['w']
    (tensor(2.2500), tensor(1.5000))
    """
    require_choice('mode', mode, MODES)
    require_choice('curvature', curvature, ROUTES)
    names, weights = names_to_adapt(theta, adapt_only), check_step_weights(step_weights, inner_steps)
    theta, phi, rates_taught = detached(theta), detached(phi), learned(inner_lr, names)
    scale = LossScale(loss_scale)
    inner_terms = [scale.of(term) for term in pieces(inner_loss)]
    run = adapt(
        theta,
        phi,
        inner_terms,
        inner_lr=scale.for_rates(inner_lr),
        inner_steps=inner_steps,
        adapt_only=names,
        keep_gradients=bool(rates_taught),
        keep_graph=keep_graph and mode != 'first',
    )
    sums = _Sums(
        moving={},
        resting={name: torch.zeros_like(p) for name, p in theta.items() if name not in set(names)},
        phi={name: torch.zeros_like(p) for name, p in phi.items()},
        rates={},
    )
    outer_losses: list[Tensor] = []
    for k in range(inner_steps, 0, -1):
        if weights[k - 1]:
            point = run.fast_params if k == inner_steps else {**theta, **run.trajectory[k]}
            outer_losses.insert(0, _join_outer_loss(sums, pieces(outer_loss), point, phi, k, weights[k - 1], scale))
        if not sums.moving:
            continue
        if isinstance(inner_lr, Mapping) and rates_taught:
            gradient = scale.off(run.gradients[k - 1])
            _join_rates(sums, gradient, {name: inner_lr[name] for name in rates_taught})
        if mode == 'first':
            continue
        step = {name: -rate_of(inner_lr, name) * v for name, v in sums.moving.items()}
        along, stretched = scale.stretch(step, theta)
        wanted = list(theta) if mode == 'second' else []
        if run.last_graph is not None and k == inner_steps:
            curved, mixed = run.last_graph.contracted(along, wanted, list(phi))
        else:
            before = {**theta, **run.trajectory[k - 1]}
            with run.draws[k - 1].again():
                curved, mixed = contracted_curvature(inner_terms, before, phi, along, wanted, list(phi), curvature)
        sums.add(scale.off(curved, stretched), scale.off(mixed, stretched))
    by_theta = {**sums.moving, **sums.resting}
    return MetaGradient(
        theta={name: by_theta[name] for name in theta},
        phi=sums.phi,
        inner_lr=sums.rates or None,
        outer_losses=outer_losses,
        inner_losses=[loss / loss_scale for loss in run.inner_losses],
        fast_params=run.fast_params,
    )


@dataclass
class _Sums:
    """Sums of gradients: by the adapted parameters (`moving`, v above), the others (`resting`), phi and the rates."""

    moving: Params
    resting: Params
    phi: Params
    rates: Params

    def add(self, by_theta: Params, by_phi: Params) -> None:
        self.moving = added(self.moving, {n: g for n, g in by_theta.items() if n not in self.resting})
        self.resting = added(self.resting, {n: g for n, g in by_theta.items() if n in self.resting})
        self.phi = added(self.phi, by_phi)


def _join_outer_loss(
    sums: _Sums,
    terms: Sequence[OuterTerm],
    theta: Params,
    phi: Params,
    step: int,
    weight: float,
    scale: LossScale,
) -> Tensor:
    """Adds the gradients of `weight` times the outer loss at a point; returns the loss itself."""
    total = None
    for term in terms:
        with torch.enable_grad():
            at, at_phi = leaves(theta, theta), leaves(phi, phi)
            loss = term(at, at_phi, step)
            if not loss.requires_grad:
                raise ValueError(
                    'The outer loss depends neither on theta nor on phi, so it has no gradient; check the loss.'
                )
            found = gradient_of(weight * scale.value * loss, [*at.values(), *at_phi.values()])
        total = loss.detach() if total is None else total + loss.detach()
        sums.add(scale.off(dict(zip(theta, found))), scale.off(dict(zip(phi, found[len(theta) :]))))
        del loss, at, at_phi
    assert total is not None
    return total


def _join_rates(sums: _Sums, gradient: Params, rates: Params) -> None:
    """Adds ``-<v, grad L_in>``, summed to the shape of each rate."""
    found = {name: -(sums.moving[name] * gradient[name]).sum_to_size(rate.shape) for name, rate in rates.items()}
    sums.rates = added(sums.rates, found)
