"""Parameters as plain dicts of tensors: which are adapted, at which rate, and calls of a network with them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from metaf2n_arch.meta.checkpointing import checkpointed, outermost
from metaf2n_arch.utils.checks import OptionError, nearest

Params = dict[str, Tensor]
InnerLoss = Callable[[Params, Params], Tensor]
OuterTerm = Callable[[Params, Params, int], Tensor]
# A loss may be given as a sequence of terms, whose sum it is: each term's graph is freed before the next is built.
InnerLosses = InnerLoss | Sequence[InnerLoss]
OuterTerms = OuterTerm | Sequence[OuterTerm]
Rates = float | Params


def functional(
    net: nn.Module,
    memory_format: torch.memory_format | None = None,
    checkpoint: str | Sequence[str] | None = None,
) -> Callable[..., Any]:
    """Turns a network into a pure function of its parameters.

    Each call runs on copies of the buffers, so that batch statistics and the vectors of spectral norm are read but not
    written: all forwards of one step use the same network.

    Args:
        net: the network; its own parameters are used where a call gives none, and are never changed.
        memory_format: layout that four-dimensional inputs are converted to, for example ``torch.channels_last``.
        checkpoint: patterns of modules (``body.*``) that compute their activations a second time in the backward pass
            instead of keeping them: less memory for a third more time. For outer losses on large queries.

    Returns:
        ``f(params, *inputs, **options)``, which returns the output of ``net(*inputs, **options)`` with `params`.

    Raises:
        OptionError: a pattern of `checkpoint` matches no module.

    >>> net = nn.Linear(2, 1, bias=False)
    >>> functional(net)({'weight': torch.ones(1, 2)}, torch.tensor([[2.0, 3.0]]))
    tensor([[5.]])
    """

    names = [] if checkpoint is None else select([name for name, _ in net.named_modules() if name], checkpoint)
    modules = outermost(net, names)

    def call(params: Mapping[str, Tensor], *inputs: Any, **options: Any) -> Any:
        if memory_format is not None:
            inputs = tuple(_lay_out(x, memory_format) for x in inputs)
        buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}
        with checkpointed(modules):
            return torch.func.functional_call(net, {**buffers, **params}, inputs, options)

    return call


def _lay_out(x: Any, memory_format: torch.memory_format) -> Any:
    return x.contiguous(memory_format=memory_format) if isinstance(x, Tensor) and x.ndim == 4 else x


def select(names: Iterable[str], patterns: str | Sequence[str] | None) -> list[str]:
    """Selects names by shell patterns, in the order of `names`.

    A pattern includes names, a pattern that begins with ``!`` excludes names; the last one that matches decides. A list
    of ``!`` patterns alone starts from all names.

    Args:
        names: names of parameters, or of modules.
        patterns: one pattern, several, or `None` for all.

    Raises:
        OptionError: a pattern matches no name, or no name is left.

    >>> select(['body.0.weight', 'body.0.bias', 'conv_last.weight'], ['body.*', '!*.bias'])
    ['body.0.weight']
    """
    names = list(names)
    if patterns is None:
        return names
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    chosen = set(names) if patterns and all(p.startswith('!') for p in patterns) else set()
    for pattern in patterns:
        matching = {name for name in names if fnmatchcase(name, pattern.removeprefix('!'))}
        if not matching:
            raise OptionError(f'The pattern {pattern!r} matches no name.{nearest(pattern.removeprefix("!"), names)}')
        chosen = chosen - matching if pattern.startswith('!') else chosen | matching
    if not chosen:
        raise OptionError(f'The patterns {patterns} leave no name; expected at least one.')
    return [name for name in names if name in chosen]


def names_to_adapt(theta: Params, adapt_only: Collection[str] | None) -> list[str]:
    """Returns the names of `theta` that the inner loop changes, in their order; `None` means all.

    Raises:
        ValueError: a name is not in `theta`, or `adapt_only` is empty.
    """
    wanted = set(theta) if adapt_only is None else {adapt_only} if isinstance(adapt_only, str) else set(adapt_only)
    for name in sorted(wanted):
        if name not in theta:
            raise ValueError(f'adapt_only names {name!r}, which is not a parameter.{nearest(name, theta)}')
    if not wanted:
        raise ValueError('adapt_only is empty; expected at least one parameter name, or None for all.')
    return [name for name in theta if name in wanted]


def rate_of(inner_lr: Rates, name: str) -> float | Tensor:
    """Returns the inner rate of one tensor, outside any graph."""
    return inner_lr if not isinstance(inner_lr, Mapping) else inner_lr[name].detach()


def check_rates(inner_lr: Rates, names: Sequence[str]) -> None:
    """Raises `ValueError` unless `inner_lr` is a number or holds a rate for each of `names`."""
    if not isinstance(inner_lr, Mapping):
        return
    missing = [name for name in names if name not in inner_lr]
    if missing:
        raise ValueError(
            f'inner_lr has no rate for {missing[0]!r} ({len(missing)} of {len(names)} are missing); '
            'give one for each adapted parameter.'
        )


def learned(inner_lr: Rates, names: Sequence[str]) -> list[str]:
    """Returns the names whose inner rate is learned: a tensor that requires a gradient."""
    check_rates(inner_lr, names)
    if not isinstance(inner_lr, Mapping):
        return []
    return [name for name in names if inner_lr[name].requires_grad]


def descend(theta: Params, gradient: Params, inner_lr: Rates) -> Params:
    """Returns ``theta - inner_lr * gradient`` for the names of `gradient`, and all other tensors unchanged."""
    moved = {name: theta[name] - rate_of(inner_lr, name) * g for name, g in gradient.items()}
    return {**theta, **moved}


def detached(params: Params) -> Params:
    """Returns the same tensors outside any graph, without a copy."""
    return {name: p.detach() for name, p in params.items()}


def leaves(params: Params, names: Iterable[str]) -> Params:
    """Returns `params`: the named tensors as new leaves of a graph (no copy), the others outside any graph."""
    wanted = set(names)
    return {name: p.detach().requires_grad_(name in wanted) for name, p in params.items()}


def gradient_of(scalar: Tensor, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Returns the gradient of `scalar`, outside any graph; zeros for an input that it does not depend on."""
    found = torch.autograd.grad(scalar, inputs, materialize_grads=True)
    return tuple(g.detach() for g in found)  # torch 2.4 returns zeros that require a gradient


def pieces(losses: Any) -> list[Any]:
    """Returns a loss, or the terms of a sum of losses, as a list."""
    terms = [losses] if callable(losses) else list(losses)
    if not terms:
        raise ValueError('The list of losses is empty; expected at least one.')
    return terms


def added(total: Params, more: Params) -> Params:
    """Returns the sum by name; a name that only one of them has is kept.

    Never in place: a tensor that autograd returns may share storage with another gradient.
    """
    return {**total, **{name: total[name] + g if name in total else g for name, g in more.items()}}
