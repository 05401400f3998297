"""Second derivatives of the inner loss, contracted with a vector, from a graph of the inner loss alone."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd import forward_ad

from metaf2n_arch.meta.params import InnerLoss, Params, added, gradient_of, leaves
from metaf2n_arch.meta.replay import Draws

ROUTES = ('auto', 'forward', 'reverse')


@dataclass(frozen=True)
class StepGraph:
    """The graphs that an inner gradient was taken from, kept to be differentiated a second time.

    Attributes:
        terms: for each term of the loss its leaves among `theta` and `phi`, and its gradient with a graph.
    """

    terms: list[tuple[Params, Params, Params]]

    def contracted(
        self, vector: Params, wanted_theta: Sequence[str], wanted_phi: Sequence[str]
    ) -> tuple[Params, Params]:
        """Returns the same as `contracted_curvature`; frees each graph after its use."""
        by_theta, by_phi = Params(), Params()
        while self.terms:
            at, at_phi, gradient = self.terms.pop()
            found = _gradient(
                _inner_product(gradient, vector),
                [at[name] for name in wanted_theta] + [at_phi[name] for name in wanted_phi],
            )
            by_theta = added(by_theta, dict(zip(wanted_theta, found)))
            by_phi = added(by_phi, dict(zip(wanted_phi, found[len(wanted_theta) :])))
        return by_theta, by_phi


def contracted_curvature(
    terms: Sequence[InnerLoss],
    theta: Params,
    phi: Params,
    vector: Params,
    wanted_theta: Sequence[str],
    wanted_phi: Sequence[str],
    route: str = 'auto',
) -> tuple[Params, Params]:
    """Differentiates ``<grad_theta L(theta, phi), v>`` by parameters, at a point.

    The scalar is the derivative of L along v. ``forward`` carries that derivative along with the loss (forward mode)
    and differentiates it once: about a fifth less work than ``reverse``, which differentiates the loss twice; both are
    exact. ``auto`` tries ``forward``. If an operation has no forward derivative, or none that can be differentiated
    (attention, layer and batch normalisation, checkpointed blocks), it warns and takes ``reverse``.

    Args:
        terms: the terms of the loss; one graph at a time is in memory.
        theta: all parameters, at the point where the derivative is taken.
        phi: the other arguments of the loss.
        vector: v, by name; the directions not named are zero.
        wanted_theta: names of `theta` to differentiate by: gives ``(d2L / dtheta dtheta_name) v``.
        wanted_phi: names of `phi` to differentiate by: the mixed derivative contracted with v.
        route: one of `ROUTES`.

    Returns:
        The two sets of derivatives by name.

    Raises:
        RuntimeError: the route is ``forward``, and an operation does not allow it.

    >>> square, at, along = (lambda theta, phi: theta['w'] ** 3), {'w': torch.tensor(2.0)}, {'w': torch.tensor(10.0)}
    >>> contracted_curvature([square], at, {}, along, ['w'], [])[0]
    {'w': tensor(120.)}
    """
    by_theta, by_phi = Params(), Params()
    for term in terms:
        found = _of_term(term, theta, phi, vector, wanted_theta, wanted_phi, route)
        by_theta = added(by_theta, dict(zip(wanted_theta, found)))
        by_phi = added(by_phi, dict(zip(wanted_phi, found[len(wanted_theta) :])))
    return by_theta, by_phi


def _of_term(
    term: InnerLoss,
    theta: Params,
    phi: Params,
    vector: Params,
    wanted_theta: Sequence[str],
    wanted_phi: Sequence[str],
    route: str,
) -> tuple[Tensor, ...]:
    draws = Draws.of(theta) if route == 'auto' else None
    try:
        with torch.enable_grad():
            names = {*vector, *wanted_theta} if route == 'reverse' else wanted_theta
            at, at_phi = leaves(theta, names), leaves(phi, wanted_phi)
            directional = _directional_reverse if route == 'reverse' else _directional_forward
            along = directional(term, at, at_phi, vector)
            return _gradient(along, [at[name] for name in wanted_theta] + [at_phi[name] for name in wanted_phi])
    except RuntimeError as error:
        if draws is None:
            raise
        reason = str(error).splitlines()[0]
        warnings.warn(
            f"No forward derivative ({reason}): reverse mode is used. Set curvature='reverse' to save this attempt.",
            stacklevel=2,
        )
    with draws.again():
        return _of_term(term, theta, phi, vector, wanted_theta, wanted_phi, 'reverse')


def _directional_forward(term: InnerLoss, theta: Params, phi: Params, vector: Params) -> Tensor:
    """The derivative of the loss along v, computed together with the loss (forward mode)."""
    with forward_ad.dual_level():
        dual = {name: forward_ad.make_dual(theta[name], v) for name, v in vector.items()}
        loss = term({**theta, **dual}, phi)
        _refuse_normalisation(loss)
        tangent = forward_ad.unpack_dual(loss).tangent
    return torch.zeros_like(loss).detach() if tangent is None else tangent


def _refuse_normalisation(loss: Tensor) -> None:
    """Raises `RuntimeError` if the loss goes through batch, instance or layer normalisation by its own statistics.

    Their forward derivative is right, but its own derivative is wrong: autograd treats the mean and the variance in it
    as constants, and does not say so.
    """
    waiting, seen = [loss.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        kind = node.name()
        if ('BatchNorm' in kind and getattr(node, '_saved_training', True)) or 'LayerNorm' in kind:
            raise RuntimeError(
                f"the forward derivative of {kind.removesuffix('Backward0')} cannot be differentiated; use 'reverse'"
            )
        waiting.extend(following for following, _ in node.next_functions)


def _directional_reverse(term: InnerLoss, theta: Params, phi: Params, vector: Params) -> Tensor:
    """The derivative of the loss along v as ``<grad_theta L, v>``, with a graph through the gradient."""
    inputs = [theta[name] for name in vector]
    gradient = torch.autograd.grad(term(theta, phi), inputs, create_graph=True, materialize_grads=True)
    return _inner_product(dict(zip(vector, gradient)), vector)


def _inner_product(gradient: Params, vector: Params) -> Tensor:
    with torch.enable_grad():
        return torch.stack([(gradient[name] * v).sum() for name, v in vector.items()]).sum()


def _gradient(scalar: Tensor, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    """The gradient of `scalar`; zeros where it is constant, as for a loss that is linear in its parameters."""
    if not scalar.requires_grad or not inputs:
        return tuple(torch.zeros_like(x) for x in inputs)
    return gradient_of(scalar, inputs)
