"""How much of the gradient that reaches a generator's output comes from each loss: the weight a loss really has."""

from __future__ import annotations

import torch
from torch import Tensor

# Below this share a loss changes next to nothing: warned about once.
LEAST = 0.005


class GradientShares:
    """Collects ‖∂(w_i L_i)/∂output‖₂ of each term and gives each one's share of their sum.

    share_i = ‖∇_G w_i L_i‖ / Σ_j ‖∇_G w_j L_j‖, G the output. Outputs that are judged one after the other (images of a
    batch, tasks) are taken together as one: their squared norms add up.
    """

    def __init__(self) -> None:
        self._squares: dict[str, Tensor] = {}

    def add(self, name: str, value: Tensor, output: Tensor) -> None:
        """Adds the gradient of a term's weighted value; a term that does not see the output has no share.

        Args:
            name: of the term.
            value: its weighted value, whose graph stays.
            output: what the generator gave, with a graph.
        """
        if not (value.requires_grad and output.requires_grad):
            return
        (gradient,) = torch.autograd.grad(value, output, retain_graph=True, allow_unused=True)
        if gradient is not None:
            square = gradient.detach().float().square().sum()
            self._squares[name] = self._squares.get(name, 0) + square

    def values(self) -> dict[str, Tensor]:
        """``share_<name>`` of each term, in 0..1; all 0 where no gradient reaches the output."""
        norms = {name: square.sqrt() for name, square in self._squares.items()}
        if not norms:
            return {}
        total = torch.stack(list(norms.values())).sum().clamp_min(torch.finfo(torch.float32).tiny)
        return {f'share_{name}': norm / total for name, norm in norms.items()}
