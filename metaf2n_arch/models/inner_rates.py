"""Inner learning rates that are trained with the generator."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from metaf2n_arch.meta import Params
from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.weights.files import load_strictly, read_checkpoint

KEY = 'inner_lr'
"""Key of the rates in a checkpoint of the generator, beside ``params`` and ``params_ema``."""


class InnerRates(nn.Module):
    """One inner learning rate α_i for each adapted tensor θ_i:   θ'_i = θ_i - α_i ∂L/∂θ_i

    Meta-SGD (Li et al. 2017) learns a rate for each weight. MAML++ (Antoniou et al. 2019) found a rate per layer
    enough, which costs nothing.

    Args:
        names: names of the adapted tensors.
        start: initial value of every rate.

    >>> InnerRates(['conv.weight'], 0.01).by_name()['conv.weight'].item()
    0.009999999776482582
    """

    def __init__(self, names: Iterable[str], start: float) -> None:
        super().__init__()
        # Names of parameters must not contain a dot.
        self.rates = nn.ParameterDict({name.replace('.', '/'): nn.Parameter(torch.tensor(start)) for name in names})

    def by_name(self) -> Params:
        """Returns the rates by the names of their tensors, as `adapt` and `meta_gradient` expect them."""
        return {name.replace('/', '.'): rate for name, rate in self.rates.items()}

    def load(self, path: str | Path, required: bool) -> None:
        """Loads the rates from a checkpoint of the generator.

        Raises:
            DataError: it holds rates of other tensors, or no rates although they are `required`.
        """
        content = read_checkpoint(path)
        if KEY in content:
            load_strictly(self, content[KEY], path)
        elif required:
            raise DataError(f'{path}: holds no learned inner rates; set meta.inner_lr to a number.')
