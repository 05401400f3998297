"""What a generator's file says of its training beyond plain options: learned step sizes, and the face restorer."""

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
"""The face restorer where a file names none: the paper's."""


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
    """The step size of each tensor that training has learned, by the tensor's name; None where none are wanted.

    Args:
        generator: read from `path`.
        path: a .pth file.
        options: ask for them, or leave the choice to the file.

    Raises:
        DataError: the file holds none, or those of other tensors.
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
