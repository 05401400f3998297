"""Data sets that were built while the options were checked, kept until the runner asks for them: each is built once."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

# (the block of options, as it was, the data set)
_kept: list[tuple[dict[str, Any], dict[str, Any], Any]] = []


def keep(blocks: dict[str, Any], built: dict[str, Any]) -> None:
    """Keeps data sets by the blocks of options they were built from, and forgets earlier ones.

    Args:
        blocks: the options of each phase; later asked for by these very objects.
        built: the data set of a phase.
    """
    _kept[:] = [(blocks[phase], deepcopy(dict(blocks[phase])), data_set) for phase, data_set in built.items()]


def take(block: dict[str, Any]) -> Any:
    """Returns the data set built from this block, once, unless the block has changed since; else None."""
    for number, (known, before, data_set) in enumerate(_kept):
        if known is block:
            del _kept[number]
            return data_set if before == dict(block) else None
    return None
