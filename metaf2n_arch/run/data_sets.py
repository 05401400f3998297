"""Data sets built by the check of the options, kept for the runner, so that each is built once."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

# (the block of options, a copy of it as it was then, the data set)
_kept: list[tuple[dict[str, Any], dict[str, Any], Any]] = []


def keep(blocks: dict[str, Any], built: dict[str, Any]) -> None:
    """Keeps data sets, each with the block of options it was built from; those kept before are dropped.

    Args:
        blocks: phase -> block of options; `take` must be called with the same objects.
        built: phase -> data set.
    """
    _kept[:] = [(blocks[phase], deepcopy(dict(blocks[phase])), data_set) for phase, data_set in built.items()]


def take(block: dict[str, Any]) -> Any:
    """Returns the data set built from this block, and drops it here; None if there is none or the block has changed."""
    for number, (known, before, data_set) in enumerate(_kept):
        if known is block:
            del _kept[number]
            return data_set if before == dict(block) else None
    return None
