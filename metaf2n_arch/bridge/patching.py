"""Patching: what a repair is, and how a function of the host is replaced, for everybody or for runs of ours."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from types import ModuleType
from typing import Any, Literal

from metaf2n_arch.bridge import circle

# What the host had before we replaced it, by 'module.name' or 'module.Class.name'.
ORIGINALS: dict[str, Any] = {}


@dataclass
class Repair:
    """One named repair of one module of the host.

    Attributes:
        name: what is repaired, as ``METAF2N_BRIDGE_SKIP`` spells it.
        module: the host's module; the repair runs right after the module's body.
        apply: gets that module and returns whether it needed the repair.
        why: one line: what the host does by itself.
        circle: ``everybody``: it makes the host run and changes no result; ``ours``: it waits for a run of ours.
        applied: what `apply` returned; `None` before it has run.
    """

    name: str
    module: str
    apply: Callable[[ModuleType], bool]
    why: str
    circle: Literal['everybody', 'ours'] = 'ours'
    applied: bool | None = None


def replace(owner: ModuleType | type, name: str, new: Any) -> None:
    """Sets an attribute of a module or class of the host, for everybody, and keeps what was there in `ORIGINALS`."""
    ORIGINALS.setdefault(f'{place_of(owner)}.{name}', getattr(owner, name))
    setattr(owner, name, new)


def replace_for_ours(owner: ModuleType | type, name: str, new: Callable[..., Any]) -> None:
    """Replaces a function of the host in runs of ours; in any other the host's own is called."""
    original = getattr(owner, name)

    @wraps(original)
    def switch(*arguments: Any, **named: Any) -> Any:
        return (new if circle.is_ours(*arguments) else original)(*arguments, **named)

    replace(owner, name, switch)


def place_of(owner: ModuleType | type) -> str:
    return owner.__name__ if isinstance(owner, ModuleType) else f'{owner.__module__}.{owner.__qualname__}'


def still_says(function: Any, text: str) -> bool:
    """Whether the host's function still holds the line that a repair is about; yes if its source cannot be read.

    Git master of the host bears the version number of its last release, so that the version says nothing.
    """
    try:
        return text in inspect.getsource(function)
    except (OSError, TypeError):
        return True
