"""Warnings of a training that cannot learn: flat outputs, a MaskNet at 0, an average that follows too slowly."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from metaf2n_arch.models.averaging import remaining
from metaf2n_arch.models.model_options import AverageOptions

FLAT = 1e-3
"""Standard deviation of an image in [0, 1] below which it counts as flat: a quarter of an 8-bit level."""
NO_TRUST = 1e-3
"""Mean confidence below which the inner loop changes almost nothing."""
HIDDEN = 0.5
"""Share of the first weights in the average, at the first validation, above which a warning is given."""


class Doubts:
    """Checks a training in the iterations that are logged; warns once if a check fails twice in a row.

    Args:
        options: options of the run, of which ``logger.print_freq`` is read.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.every = int((options.get('logger') or {}).get('print_freq', 100))
        self._since: dict[str, int] = {}  # check -> first iteration of the present failures
        self._told: set[str] = set()

    def looks(self, iteration: int) -> bool:
        """Whether this iteration is checked; reading values from a GPU in each would slow training down."""
        return iteration % self.every == 0

    def output(self, output: Tensor, gt: Tensor, iteration: int) -> None:
        """Warns of outputs (B, C, H, W) that are all of one colour while the ground truth is not."""
        if self.looks(iteration):
            spread, wanted = (float(x.detach().float().std(dim=(-2, -1)).max()) for x in (output, gt))
            self._see(
                'output',
                iteration,
                spread < FLAT < wanted / 10,
                f'iteration {iteration}: all outputs are of one colour (standard deviation {spread:.1e}); the '
                'generator learns nothing. Lower the learning rate, or start from other weights.',
            )

    def confidence(self, confidence: Tensor, iteration: int) -> None:
        """Warns of a confidence map (B, 1, H, W) of MaskNet that is 0 everywhere."""
        if self.looks(iteration):
            mean = float(confidence.detach().float().mean())
            self._see(
                'confidence',
                iteration,
                abs(mean) < NO_TRUST,
                f'iteration {iteration}: the confidence of MaskNet is 0 at almost every pixel (mean {mean:.1e}), so '
                'the inner loop changes nothing. Raise the loss_weight of MaskRegularizerLoss, or start with '
                'network_m.bias_last: 1.',
            )

    def average(self, options: AverageOptions, train: Mapping[str, Any], val: Mapping[str, Any]) -> None:
        """Warns at once of an average that will still hold mostly its first weights at the first validation."""
        iteration = min(int(val.get('val_freq') or train['total_iter']), int(train['total_iter']))
        part = remaining(options, iteration // int(train.get('accumulate', 1)))
        if part > HIDDEN:
            logging.getLogger('basicsr').warning(
                f'train: validation uses the average of the weights, and at iteration {iteration} this average is '
                f'still {100 * part:.0f} % the first weights, so it shows little of the training. Lower its decay, or '
                f'let the decay grow: ema: {{decay: {options.decay:g}, power: 0.75}}.',
            )

    def _see(self, name: str, iteration: int, seen: bool, line: str) -> None:
        if not seen:
            self._since.pop(name, None)
        elif self._since.setdefault(name, iteration) < iteration and name not in self._told:
            self._told.add(name)
            logging.getLogger('basicsr').warning(line)
