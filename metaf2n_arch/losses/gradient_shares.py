"""Gradient shares: the part of the gradient at a generator's output that comes from each loss, its effective weight."""

from __future__ import annotations

import torch
from torch import Tensor

# A loss with a smaller share has almost no effect; the user is warned once.
LEAST = 0.005


class GradientShares:
    """Collects ‖∂(w_i L_i)/∂output‖₂ of each term, and returns each term's share of their sum.

    share_i = ‖∇_G w_i L_i‖ / Σ_j ‖∇_G w_j L_j‖, G the output. Outputs of several calls (images of a batch, tasks) count
    as one: their squared norms are added.

    Args:
        scale: multiplies all gradients alike, so that a discriminator in float16 does not round small ones to 0.
    """

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale
        self._squares: dict[str, Tensor] = {}

    def add(self, name: str, value: Tensor, output: Tensor) -> None:
        """Adds the gradient of a term's weighted value; a term that does not depend on the output has no share.

        Args:
            name: name of the term.
            value: its weighted value; its graph is kept.
            output: the generator's output, with a graph.
        """
        if not (value.requires_grad and output.requires_grad):
            return
        (gradient,) = torch.autograd.grad(self.scale * value, output, retain_graph=True, allow_unused=True)
        if gradient is not None:
            square = gradient.detach().float().square().sum()
            self._squares[name] = self._squares.get(name, 0) + square

    def values(self) -> dict[str, Tensor]:
        """Returns ``share_<name>`` of each term, in 0..1; all 0 if no gradient reaches the output."""
        norms = {name: square.sqrt() for name, square in self._squares.items()}
        if not norms:
            return {}
        total = torch.stack(list(norms.values())).sum().clamp_min(torch.finfo(torch.float32).tiny)
        return {f'share_{name}': norm / total for name, norm in norms.items()}
