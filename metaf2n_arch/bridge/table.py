"""The table of repairs: which module of BasicSR each one watches, and whether it was needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType


@dataclass
class Repair:
    """One named repair of one module of the host.

    `apply` gets the module right after its body has run and returns whether the host needed it.
    """

    name: str
    module: str
    apply: Callable[[ModuleType], bool]
    applied: bool | None = None


REPAIRS: list[Repair] = []


def repair(module: ModuleType) -> None:
    """Applies every repair that watches `module`."""
    for item in REPAIRS:
        if item.module == module.__name__:
            item.applied = item.apply(module)
