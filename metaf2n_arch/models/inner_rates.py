"""Inner learning rates that are learned with the generator."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from metaf2n_arch.meta import Params
from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.weights.files import load_strictly, read_checkpoint

KEY = 'inner_lr'
"""Where a checkpoint of the generator holds them, beside ``params`` and ``params_ema``."""


class InnerRates(nn.Module):
    """One inner learning rate for each adapted tensor (Meta-SGD, Li et al. 2017; MAML++, Antoniou et al. 2019).

    Meta-SGD has a rate for each number; one for each tensor is what MAML++ found enough, and costs nothing.

    Args:
        names: the adapted tensors.
        start: what every rate begins at.

    >>> InnerRates(['conv.weight'], 0.01).by_name()['conv.weight'].item()
    0.009999999776482582
    """

    def __init__(self, names: Iterable[str], start: float) -> None:
        super().__init__()
        # No name of a parameter may hold a dot.
        self.rates = nn.ParameterDict({name.replace('.', '/'): nn.Parameter(torch.tensor(start)) for name in names})

    def by_name(self) -> Params:
        """The rates by the names of the tensors they belong to, as `adapt` and `meta_gradient` want them."""
        return {name.replace('/', '.'): rate for name, rate in self.rates.items()}

    def load(self, path: str | Path, required: bool) -> None:
        """Takes the rates from a generator's checkpoint.

        Raises:
            DataError: it holds rates of other tensors, or none although they are `required`.
        """
        content = read_checkpoint(path)
        if KEY in content:
            load_strictly(self, content[KEY], path)
        elif required:
            raise DataError(f'{path}: holds no learned inner rates; set meta.inner_lr to a number.')
