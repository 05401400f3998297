"""Losses multiplied by a power of two, so that networks in float16 do not round small gradients to 0."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from metaf2n_arch.meta.params import Params, Rates

USUAL = 2.0**16
"""The scale that torch's `GradScaler` starts with."""
FRACTION = 2.0**-8
"""Norm of a stretched vector divided by that of the parameters. With 1, second derivatives of trained networks
overflow."""


@dataclass(frozen=True)
class LossScale:
    """A factor of losses while a network is differentiated; the gradients are divided by it afterwards.

    The smallest number of float16 is 6e-8, and the gradient of a mean by one pixel is often smaller. The product of
    second derivatives with a vector is linear in the vector, which is as small as the outer gradient times the inner
    rate: it is multiplied by a power of two as well.

    A power of two changes no bit of what is computed in float32. A factor of 1 does nothing.
    """

    value: float = 1.0

    def of(self, term: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Returns the loss to differentiate instead of `term`."""
        return term if self.value == 1 else lambda *arguments: self.value * term(*arguments)

    def for_rates(self, inner_lr: Rates) -> Rates:
        """Returns the inner rates with which the scaled loss gives the same step."""
        if isinstance(inner_lr, Mapping):
            return {name: rate / self.value for name, rate in inner_lr.items()}
        return inner_lr / self.value

    def off(self, params: Params, stretched: float = 1.0) -> Params:
        """Returns gradients of scaled losses, and of a stretched vector, without these factors."""
        factor = self.value * stretched
        return params if factor == 1 else {name: p / factor for name, p in params.items()}

    def stretch(self, vector: Params, theta: Params) -> tuple[Params, float]:
        """Returns a vector whose norm is about `FRACTION` of that of its parameters, and the factor that makes it so.

        Its changes of activations and gradients are then in the range of float16. With a lower scale than `USUAL` the
        norm is lower, too. A vector that is zero or not finite is returned as it is.
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
