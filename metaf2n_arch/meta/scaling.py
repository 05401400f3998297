"""Gradients of losses multiplied by a power of two, for networks that compute in float16."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from metaf2n_arch.meta.params import Params, Rates

USUAL = 2.0**16
"""The scale that torch's `GradScaler` begins with."""
FRACTION = 2.0**-8
"""Length of a stretched vector over that of the parameters: in a trained network the whole of it overflows."""


@dataclass(frozen=True)
class LossScale:
    """What losses are multiplied with before, and gradients divided by after a network is differentiated.

    float16 has no numbers below 6e-8, and a gradient by one pixel of a mean over a batch is often smaller. A product
    with second derivatives is linear in its vector, whose size is that of the outer gradient times the inner rate: it
    is stretched as well.

    A power of two changes no bit of what is computed in float32; 1 does nothing at all.
    """

    value: float = 1.0

    def of(self, term: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """The loss to differentiate in place of `term`."""
        return term if self.value == 1 else lambda *arguments: self.value * term(*arguments)

    def for_rates(self, inner_lr: Rates) -> Rates:
        """The inner rates with which the scaled loss makes the same step."""
        if isinstance(inner_lr, Mapping):
            return {name: rate / self.value for name, rate in inner_lr.items()}
        return inner_lr / self.value

    def off(self, params: Params, stretched: float = 1.0) -> Params:
        """Gradients of scaled losses as those of the losses, and of a stretched vector as of the vector."""
        factor = self.value * stretched
        return params if factor == 1 else {name: p / factor for name, p in params.items()}

    def stretch(self, vector: Params, theta: Params) -> tuple[Params, float]:
        """A vector made `FRACTION` as long as the parameters it moves (less under a lowered scale), and by how much.

        What it changes in activations and gradients is then about as large as they are, which float16 holds. A vector
        that is zero or not finite stays.
        """
        if self.value == 1:
            return vector, 1.0
        wanted = _length({name: theta[name] for name in vector}) * FRACTION * min(1.0, self.value / USUAL)
        ratio = wanted / (_length(vector) or math.inf)
        if not 0 < ratio < math.inf:
            return vector, 1.0
        factor = 2.0 ** math.floor(math.log2(ratio))
        return {name: factor * v for name, v in vector.items()}, factor


def _length(params: Params) -> float:
    return float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(p) for p in params.values()])))
