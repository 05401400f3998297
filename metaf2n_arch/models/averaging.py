"""Averages of the generator's weights during training: EMA, with a growing decay, plain mean (SWA), Switch EMA."""

from __future__ import annotations

from typing import Any

import torch

from metaf2n_arch.models.model_options import AverageOptions


def decay_of(options: AverageOptions, n: int) -> float:
    """Returns the decay d_n of the n-th averaging, see `Average`."""
    return options.decay if options.power is None else min(options.decay, 1 - n**-options.power)


def remaining(options: AverageOptions, steps: int) -> float:
    """Returns the share of the first weights in the average after `steps`: the product of the decays, 0 to 1.

    >>> round(remaining(AverageOptions(decay=0.9), 10), 3)
    0.349
    """
    averagings = max(0, steps - options.warmup_steps) // options.every
    if options.warmup_steps or (options.power is not None and averagings):
        return 0.0  # one of the decays is 0
    return options.decay**averagings


class Average:
    """The average of the generator's weights: when it is updated, and with which decay.

    The n-th averaging is   average <- d_n average + (1 - d_n) weights,   d_n = min(decay, 1 - n^(-power))

    Without a power d_n is the decay. Karras et al. 2024 and torch's `swa_utils` use the same forms. With power 1 and
    decay 1 it is the plain mean (SWA, Izmailov et al. 2018).

    Args:
        options: the block ``train.ema``.

    Attributes:
        steps: steps of the generator's optimizer so far.
        number: averagings so far.
    """

    def __init__(self, options: AverageOptions) -> None:
        self.options = options
        self.steps = 0
        self.number = 0

    def decay(self) -> float:
        """Returns the decay d_n of the next averaging."""
        return decay_of(self.options, self.number + 1)

    def follow(self, model: Any) -> None:
        """Updates ``model.net_g_ema`` after a step of ``model.net_g``; copies it back if `switch_every` says so."""
        options = self.options
        self.steps += 1
        if self.steps <= options.warmup_steps:
            model.model_ema(decay=0)
            return
        if self.steps % options.every == 0:
            model.model_ema(decay=self.decay())
            self.number += 1
        if options.switch_every is not None and self.steps % options.switch_every == 0:
            with torch.no_grad():
                for p, average in zip(model.net_g.parameters(), model.net_g_ema.parameters()):
                    p.copy_(average)

    def state_dict(self) -> dict[str, int]:
        return {'steps': self.steps, 'number': self.number}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.steps, self.number = state['steps'], state['number']
