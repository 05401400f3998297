"""Weights of the outer loss at each inner step."""

from __future__ import annotations

from collections.abc import Sequence


def step_weights(
    inner_steps: int, iteration: int = 0, anneal_iterations: int = 0, min_weight: float = 0.0
) -> tuple[float, ...]:
    """Anneals the weights of the outer losses from uniform to the last step only (MAML++, Antoniou et al. 2019, §4).

    All but the last weight fall linearly from ``1 / inner_steps`` to `min_weight` within `anneal_iterations`. The last
    weight is the rest: the weights always sum to 1. MAML++ itself stops at ``min_weight = 0.03 / inner_steps``.

    Raises:
        ValueError: `inner_steps` is below 1, or `min_weight` not in [0, 1 / inner_steps].

    >>> step_weights(2, 0, 100), step_weights(2, 50, 100), step_weights(2, 100, 100)
    ((0.5, 0.5), (0.25, 0.75), (0.0, 1.0))
    """
    if inner_steps < 1:
        raise ValueError(f'inner_steps is {inner_steps}, expected at least 1.')
    uniform = 1 / inner_steps
    if not 0 <= min_weight <= uniform:
        raise ValueError(f'min_weight is {min_weight}, expected a number from 0 to 1 / inner_steps = {uniform:g}.')
    left = max(0.0, 1 - iteration / anneal_iterations) if anneal_iterations > 0 else 0.0
    early = min_weight + left * (uniform - min_weight)
    return (early,) * (inner_steps - 1) + (1 - early * (inner_steps - 1),)


def check_step_weights(weights: Sequence[float] | None, inner_steps: int) -> tuple[float, ...]:
    """Returns one weight for each inner step; `None` gives weight 1 to the last step and 0 to the others.

    Raises:
        ValueError: the number of weights is not the number of steps, or all are zero.
    """
    if weights is None:
        return (0.0,) * (inner_steps - 1) + (1.0,)
    weights = tuple(float(w) for w in weights)
    if len(weights) != inner_steps:
        raise ValueError(
            f'step_weights holds {len(weights)} numbers, expected one for each of {inner_steps} inner steps.'
        )
    if not any(weights):
        raise ValueError('step_weights are all zero, so there is no outer loss; expected at least one other weight.')
    return weights
