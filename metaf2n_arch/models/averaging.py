"""Averages of the generator's weights over the course of training: exponential, growing, plain (SWA), switched."""

from __future__ import annotations

from typing import Any

import torch

from metaf2n_arch.models.model_options import AverageOptions


def decay_of(options: AverageOptions, n: int) -> float:
    """d_n, see `Average`."""
    return options.decay if options.power is None else min(options.decay, 1 - n**-options.power)


def remaining(options: AverageOptions, steps: int) -> float:
    """Part of an average that is still its first weights after `steps`: the product of the decays.

    >>> round(remaining(AverageOptions(decay=0.9), 10), 3)
    0.349
    """
    averagings = max(0, steps - options.warmup_steps) // options.every
    if options.warmup_steps or (options.power is not None and averagings):
        return 0.0  # then nothing of the first weights is kept: a decay of 0
    return options.decay**averagings


class Average:
    """When and how much the average follows the weights.

    After the n-th averaging   average <- d_n average + (1 - d_n) weights,   d_n = min(decay, 1 - n^(-power))

    or decay itself where no power is given (Karras et al. 2024 and torch's `swa_utils` use the same forms; power 1 and
    decay 1 give the plain mean of Izmailov et al. 2018).

    Args:
        options: the block ``train.ema``.

    Attributes:
        steps: steps of the generator's optimizer so far; `number`: how often the average has taken weights in.
    """

    def __init__(self, options: AverageOptions) -> None:
        self.options = options
        self.steps = 0
        self.number = 0

    def decay(self) -> float:
        """d_n of the averaging that comes next."""
        return decay_of(self.options, self.number + 1)

    def follow(self, model: Any) -> None:
        """Takes the weights of ``model.net_g`` into ``model.net_g_ema`` after a step, and back where they switch."""
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
