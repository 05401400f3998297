"""Signs that a training cannot learn, each told once: flat outputs, a MaskNet at 0, an average that hides."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from metaf2n_arch.models.averaging import remaining
from metaf2n_arch.models.model_options import AverageOptions

FLAT = 1e-3
"""Standard deviation of an image in [0, 1] below which it shows nothing: a quarter of a level of 8 bits."""
NO_TRUST = 1e-3
"""Mean confidence below which the inner loop changes nothing to speak of."""
HIDDEN = 0.5
"""Part of its first weights in the average, at the first validation, from which on it hides what was learned."""


class Doubts:
    """What is looked at in the iterations that are printed; told when it was so twice in a row.

    Args:
        options: of the run: ``logger.print_freq``.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.every = int((options.get('logger') or {}).get('print_freq', 100))
        self._since: dict[str, int] = {}  # the iteration from which on something has been so
        self._told: set[str] = set()

    def looks(self, iteration: int) -> bool:
        """Whether this iteration is printed; reading values off a device in each would slow training down."""
        return iteration % self.every == 0

    def output(self, output: Tensor, gt: Tensor, iteration: int) -> None:
        """Doubts a generator whose images are all of one colour, (B, C, H, W), where the truth is not."""
        if self.looks(iteration):
            spread, wanted = (float(x.detach().float().std(dim=(-2, -1)).max()) for x in (output, gt))
            self._see(
                'output',
                iteration,
                spread < FLAT < wanted / 10,
                f'iteration {iteration}: the outputs are of one colour (deviation {spread:.1e}); the generator '
                'learns nothing. Lower the learning rate, or start from other weights.',
            )

    def confidence(self, confidence: Tensor, iteration: int) -> None:
        """Doubts a MaskNet that trusts no pixel of any face, (B, 1, H, W)."""
        if self.looks(iteration):
            mean = float(confidence.detach().float().mean())
            self._see(
                'confidence',
                iteration,
                abs(mean) < NO_TRUST,
                f'iteration {iteration}: MaskNet trusts no pixel (mean confidence {mean:.1e}): the inner loop changes '
                'nothing. Raise the loss_weight of MaskRegularizerLoss, or start with network_m.bias_last: 1.',
            )

    def average(self, options: AverageOptions, train: Mapping[str, Any], val: Mapping[str, Any]) -> None:
        """Doubts an average that at the first validation still holds its first weights; told at once."""
        iteration = min(int(val.get('val_freq') or train['total_iter']), int(train['total_iter']))
        part = remaining(options, iteration // int(train.get('accumulate', 1)))
        if part > HIDDEN:
            logging.getLogger('basicsr').warning(
                f'train: the average of the weights, which validation uses, is at iteration {iteration} still '
                f'{100 * part:.0f} % what it began with, whatever is learned. Lower its decay, or let it grow: '
                f'ema: {{decay: {options.decay:g}, power: 0.75}}.',
            )

    def _see(self, name: str, iteration: int, seen: bool, line: str) -> None:
        if not seen:
            self._since.pop(name, None)
        elif self._since.setdefault(name, iteration) < iteration and name not in self._told:
            self._told.add(name)
            logging.getLogger('basicsr').warning(line)
