"""Inner loop: gradient steps on a copy of the parameters."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metaf2n_arch.meta.curvature import StepGraph
from metaf2n_arch.meta.params import (
    InnerLoss,
    InnerLosses,
    Params,
    Rates,
    added,
    check_rates,
    descend,
    detached,
    leaves,
    names_to_adapt,
    pieces,
)
from metaf2n_arch.meta.replay import Draws


@dataclass(frozen=True)
class Adaptation:
    """The result of the inner loop; none of its tensors belongs to a graph, except those of `last_graph`.

    Attributes:
        fast_params: all parameters after the last step; those not adapted are the given tensors.
        inner_losses: the inner loss before each step.
        trajectory: the adapted parameters before each step (the first entry shares storage with the given tensors).
        gradients: the inner gradient of each step, with `keep_gradients`.
        draws: the random state before each step, so that a step's loss can be evaluated again.
        last_graph: the graph of the last step, with `keep_graph`.
    """

    fast_params: Params
    inner_losses: list[Tensor]
    trajectory: list[Params]
    gradients: list[Params]
    draws: list[Draws]
    last_graph: StepGraph | None = None

    @property
    def finite(self) -> bool:
        """Whether every inner loss was finite; this reads values and so waits for the device."""
        return bool(torch.stack([loss.float() for loss in self.inner_losses]).isfinite().all())


def adapt(
    theta: Params,
    phi: Params,
    inner_loss: InnerLosses,
    *,
    inner_lr: Rates,
    inner_steps: int = 1,
    adapt_only: Collection[str] | None = None,
    keep_gradients: bool = False,
    keep_graph: bool = False,
) -> Adaptation:
    """Runs ``theta_{k+1} = theta_k - inner_lr * grad L_in(theta_k)`` (Finn et al. 2017, eq. 1).

    Neither `theta` nor `phi` is changed. Without `keep_graph` no graph is left after the call. Works under
    ``torch.no_grad()``.

    Args:
        theta: the network's parameters by name.
        phi: other tensors that the inner loss depends on (MaskNet's parameters, or the confidence map itself).
        inner_loss: ``(theta, phi) -> scalar``, or a sequence of terms whose sum is the loss. The graph of one term is
            freed before the next is built, so that the largest one decides the memory needed.
        inner_lr: the inner rate, or one for each adapted tensor (any shape that broadcasts to the tensor's).
        inner_steps: number of steps, at least 1.
        adapt_only: names to adapt, see `select`; `None` for all.
        keep_gradients: also returns the gradient of each step.
        keep_graph: also returns the graph of the last step.

    Raises:
        ValueError: an unknown name, a missing rate, fewer than 1 step, a loss that does not depend on the adapted
            parameters, or a call inside ``torch.inference_mode()``.

    >>> result = adapt({'w': torch.tensor(3.0)}, {}, lambda theta, phi: theta['w'] ** 2 / 2, inner_lr=0.5)
    >>> result.fast_params['w'], result.inner_losses[0]
    (tensor(1.5000), tensor(4.5000))
    """
    names = names_to_adapt(theta, adapt_only)
    check_rates(inner_lr, names)
    if inner_steps < 1:
        raise ValueError(f'inner_steps is {inner_steps}, expected at least 1.')
    if torch.is_inference_mode_enabled():
        raise ValueError('Adaptation needs gradients, so it cannot run in torch.inference_mode(); use torch.no_grad().')
    terms, current, phi = pieces(inner_loss), detached(theta), detached(phi)
    losses, trajectory, gradients, draws = [], [], [], []
    kept = StepGraph([]) if keep_graph else None
    for step in range(inner_steps):
        trajectory.append({name: current[name] for name in names})
        draws.append(Draws.of(theta))
        loss, gradient = _inner_gradient(terms, current, phi, names, kept if step == inner_steps - 1 else None)
        current = descend(current, gradient, inner_lr)
        losses.append(loss)
        if keep_gradients:
            gradients.append(gradient)
    return Adaptation(current, losses, trajectory, gradients, draws, kept)


def _inner_gradient(
    terms: Sequence[InnerLoss], theta: Params, phi: Params, names: Sequence[str], keep: StepGraph | None
) -> tuple[Tensor, Params]:
    """Returns the sum of `terms` and its gradient by the named parameters; adds their graphs to `keep`, if given."""
    total, gradient = None, Params()
    for term in terms:
        with torch.enable_grad():
            at, at_phi = leaves(theta, names if keep is None else theta), leaves(phi, () if keep is None else phi)
            loss = term(at, at_phi)
            if not loss.requires_grad:
                raise ValueError(
                    'The inner loss does not depend on the adapted parameters; check the loss and adapt_only.'
                )
            inputs = [at[name] for name in names]
            found = torch.autograd.grad(loss, inputs, create_graph=keep is not None, materialize_grads=True)
        if keep is not None:
            keep.terms.append((at, at_phi, dict(zip(names, found))))
        total = loss.detach() if total is None else total + loss.detach()
        gradient = added(gradient, {name: g.detach() for name, g in zip(names, found)})
        del loss, at, at_phi, inputs, found
    assert total is not None
    return total, gradient
