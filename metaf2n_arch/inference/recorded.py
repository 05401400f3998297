"""Training record in a generator's file: the learned step sizes and the face restorer that restoring takes from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metaf2n_arch.inference.restore_options import RestoreOptions
from metaf2n_arch.meta.guarded import PAPER_LR
from metaf2n_arch.meta.params import Params, select
from metaf2n_arch.models.inner_rates import InnerRates
from metaf2n_arch.weights.loading import AnySize, Generator
from metaf2n_arch.weights.records import TrainingRecord

RESTORER = 'gpen'
"""The face restorer if the file records none: that of the paper."""


def recorded_restorer(record: TrainingRecord | None) -> Any:
    """The option block of the restorer that training used, or `RESTORER`.

    >>> recorded_restorer(TrainingRecord(restorer='gpen 256'))
    {'type': 'gpen', 'size': 256}
    >>> recorded_restorer(None)
    'gpen'
    """
    if record is None or not record.restorer:
        return RESTORER
    kind, _, size = record.restorer.partition(' ')
    return {'type': kind, 'size': int(size)} if size.isdecimal() and kind == 'gpen' else kind


def learned_rates(generator: Generator, path: Path, options: RestoreOptions) -> Params | None:
    """The learned step size of each tensor, by the tensor's name; None if the options do not use them.

    They are used with `learned_rates`, and with ``inner_lr: auto`` if the file records training with learned rates.

    Args:
        generator: read from `path`.
        path: file of the generator's weights (.pth).
        options: `learned_rates`, `inner_lr` and `adapt_only` are used.

    Raises:
        DataError: the file holds no step sizes, or those of other tensors.
    """
    record = generator.record
    recorded = record is not None and record.meta_trained and record.inner_lr == 'learned'
    if not options.learned_rates and not (options.inner_lr == 'auto' and recorded):
        return None
    prefix = 'net.' if isinstance(generator.net, AnySize) else ''
    names = [name.removeprefix(prefix) for name, _ in generator.net.named_parameters()]
    learned = InnerRates(select(names, options.completed(record).adapt_only), PAPER_LR)
    learned.load(path, required=True)
    return learned.by_name()
