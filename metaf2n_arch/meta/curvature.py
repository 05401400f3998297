"""Second derivatives of the inner loss contracted with a vector, from a graph of the inner loss alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from metaf2n_arch.meta.params import InnerLoss, Params, added, leaves


def contracted_curvature(
    terms: Sequence[InnerLoss],
    theta: Params,
    phi: Params,
    vector: Params,
    wanted_theta: Sequence[str],
    wanted_phi: Sequence[str],
) -> tuple[Params, Params]:
    """Differentiates ``<grad_theta L(theta, phi), v>`` by parameters, at a point.

    Args:
        terms: the terms of the loss; one graph at a time is alive.
        theta: all parameters, at the point of interest.
        phi: the other arguments.
        vector: v, by name; the gradient is taken with respect to these names.
        wanted_theta: names of `theta` to differentiate by: gives ``(d2L / dtheta dtheta_name) v``.
        wanted_phi: names of `phi` to differentiate by: the mixed derivative contracted with v.

    Returns:
        The two sets of derivatives by name.
    """
    by_theta, by_phi = Params(), Params()
    for term in terms:
        with torch.enable_grad():
            at, at_phi = leaves(theta, {*vector, *wanted_theta}), leaves(phi, wanted_phi)
            dot = _directional(term, at, at_phi, vector)
            inputs = [at[name] for name in wanted_theta] + [at_phi[name] for name in wanted_phi]
            found = _gradient(dot, inputs)
        by_theta = added(by_theta, dict(zip(wanted_theta, found)))
        by_phi = added(by_phi, dict(zip(wanted_phi, found[len(wanted_theta) :])))
        del dot, at, at_phi, inputs
    return by_theta, by_phi


def _directional(term: InnerLoss, theta: Params, phi: Params, vector: Params) -> Tensor:
    """``<grad_theta L, v>`` with a graph: the derivative of the loss along v."""
    names = list(vector)
    gradient = torch.autograd.grad(
        term(theta, phi), [theta[name] for name in names], create_graph=True, materialize_grads=True
    )
    return torch.stack([(g * vector[name]).sum() for name, g in zip(names, gradient)]).sum()


def _gradient(scalar: Tensor, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    """The gradient of `scalar`; zeros where it is constant, as for a loss that is linear in its parameters."""
    if not scalar.requires_grad or not inputs:
        return tuple(torch.zeros_like(x) for x in inputs)
    return torch.autograd.grad(scalar, inputs, materialize_grads=True)
