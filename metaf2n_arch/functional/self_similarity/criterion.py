"""Criterion: how two self-similarity graphs are compared."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from metaf2n_arch.functional.self_similarity.geometry import EPSILON
from metaf2n_arch.utils.checks import require_choice, require_number

CRITERIA = ('l1', 'kl', 'kl+l1')
REDUCTIONS = ('mean', 'window')

# One entry for pred and one for target: whether a gradient is asked for; the gradient.
Wanted = tuple[bool, bool]
Gradients = tuple[Tensor | None, Tensor | None]


class CriterionWeights(NamedTuple):
    """Weights of the two terms of the loss."""

    kl: float
    l1: float


def criterion_weights(criterion: str, l1_weight: float) -> CriterionWeights:
    """Returns the weights of both terms; `l1_weight` is read by ``'kl+l1'`` alone.

    >>> criterion_weights('kl+l1', 0.5)
    CriterionWeights(kl=1.0, l1=0.5)
    """
    require_choice('criterion', criterion, CRITERIA)
    require_number('l1_weight', l1_weight)
    return {
        'l1': CriterionWeights(0.0, 1.0),
        'kl': CriterionWeights(1.0, 0.0),
        'kl+l1': CriterionWeights(1.0, float(l1_weight)),
    }[criterion]


def graph_difference(pred: Tensor, target: Tensor, weights: CriterionWeights) -> Tensor:
    """Sums the differences of two normalised graphs.

    kl · Σ y (log y - log x) + l1 · Σ |S̄_SR - S̄_HR|,  x = max(S̄_SR, 1e-10),  y = max(S̄_HR, 1e-10)

    Args:
        pred: S̄_SR, (M, K²).
        target: S̄_HR, (M, K²).
        weights: of both terms.

    Returns:
        A scalar; the sum over all M K² entries, 0 if there are none.
    """
    total = pred.new_zeros(())
    if weights.kl:
        x, y = pred.clamp_min(EPSILON), target.clamp_min(EPSILON)
        total = total + weights.kl * (y * (y.log() - x.log())).sum()
    if weights.l1:
        total = total + weights.l1 * (pred - target).abs().sum()
    return total
