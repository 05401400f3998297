"""The table of repairs: which module of BasicSR each one watches, and whether it was needed there."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

# What the host had before we replaced it, by 'module.name' or 'module.Class.name'.
ORIGINALS: dict[str, Any] = {}


@dataclass
class Repair:
    """One named repair of one module of the host.

    Attributes:
        name: what is repaired, in a few words.
        module: the host's module; the repair runs right after the module's body.
        apply: gets that module and returns whether it needed the repair.
        why: one line: what the host does by itself.
        applied: what `apply` returned; `None` before it has run.
    """

    name: str
    module: str
    apply: Callable[[ModuleType], bool]
    why: str
    applied: bool | None = None


def replace(owner: ModuleType | type, name: str, new: Any) -> None:
    """Sets an attribute of a module or class of the host and keeps what was there in `ORIGINALS`."""
    place = owner.__name__ if isinstance(owner, ModuleType) else f'{owner.__module__}.{owner.__qualname__}'
    ORIGINALS.setdefault(f'{place}.{name}', getattr(owner, name, None))
    setattr(owner, name, new)


def repairs() -> list[Repair]:
    """Returns all repairs, in the order in which the host's modules are imported."""
    from metaf2n_arch.bridge.repairs import REPAIRS

    return REPAIRS


def repair(module: ModuleType) -> None:
    """Applies every repair that watches `module`."""
    for item in repairs():
        if item.module == module.__name__:
            item.applied = item.apply(module)


def report() -> str:
    """Returns the table as text: state, name, the host's module, and what the host does by itself."""
    state = {True: 'applied', False: 'not needed', None: 'not reached'}
    rows = [(state[item.applied], item.name, item.module, item.why) for item in repairs()]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = ['  '.join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[3]]) for row in rows]
    return '\n'.join(lines)


def still_says(function: Any, text: str) -> bool:
    """Whether the host's function still holds the line that a repair is about; yes if its source cannot be read.

    Git master of the host bears the version number of its last release, so that the version says nothing.
    """
    try:
        return text in inspect.getsource(function)
    except (OSError, TypeError):
        return True
