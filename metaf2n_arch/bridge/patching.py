"""Patching: what a repair is, and how a function of the host is replaced, for everybody or for runs of ours."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from types import ModuleType
from typing import Any, Literal

from metaf2n_arch.bridge import circle

# What the host had before we replaced it, by 'module.name' or 'module.Class.name'.
ORIGINALS: dict[str, Any] = {}
# What the repair under way has replaced: owner, name, whether the owner itself had it, what it had, what it got.
_journal: list[tuple[Any, str, bool, Any, Any]] = []


@dataclass
class Repair:
    """One named repair of one module of the host.

    Attributes:
        name: what is repaired, as ``METAF2N_BRIDGE_SKIP`` spells it.
        module: the host's module; the repair runs right after the module's body.
        apply: gets that module and returns whether it needed the repair.
        why: one line: what the host does by itself.
        circle: ``everybody``: it makes the host run and changes no result; ``ours``: it waits for a run of ours.
        applied: what `apply` returned; `None` before it has run, and where it was skipped or failed.
        trouble: why it was skipped or failed.
    """

    name: str
    module: str
    apply: Callable[[ModuleType], bool]
    why: str
    circle: Literal['everybody', 'ours'] = 'ours'
    applied: bool | None = None
    trouble: str = ''


def replace(owner: ModuleType | type, name: str, new: Any) -> None:
    """Sets an attribute of a module or class of the host, for everybody, and keeps what was there in `ORIGINALS`."""
    old = getattr(owner, name)
    _journal.append((owner, name, name in vars(owner), vars(owner).get(name), new))
    ORIGINALS.setdefault(f'{place_of(owner)}.{name}', old)
    setattr(owner, name, new)


def replace_for_ours(owner: ModuleType | type, name: str, new: Callable[..., Any]) -> None:
    """Replaces a function of the host in runs of ours; in any other the host's own is called."""
    original = getattr(owner, name)

    @wraps(original)
    def switch(*arguments: Any, **named: Any) -> Any:
        return (new if circle.is_ours(*arguments) else original)(*arguments, **named)

    replace(owner, name, switch)


def place_of(owner: ModuleType | type) -> str:
    """The full name of a module or class."""
    return owner.__name__ if isinstance(owner, ModuleType) else f'{owner.__module__}.{owner.__qualname__}'


def apply(repair: Repair, module: ModuleType, chase_copies: bool = False) -> None:
    """Applies a repair to its module, or leaves the module as it was.

    Args:
        repair: gets `applied`, or what kept it from being.
        module: the host's.
        chase_copies: whether other modules of the host may hold what is replaced already; they get the new one, too.

    Raises:
        Exception: what the repair raised, after all is as it was.
    """
    _journal.clear()
    try:
        repair.applied = repair.apply(module)
    except Exception:
        for owner, name, had, old, _ in reversed(_journal):
            setattr(owner, name, old) if had else delattr(owner, name)
            ORIGINALS.pop(f'{place_of(owner)}.{name}', None)
        raise
    if chase_copies:
        for other in [m for n, m in list(sys.modules.items()) if n.partition('.')[0] == 'basicsr' and m is not None]:
            for _, _, had, old, new in _journal:
                for name in [key for key, value in list(vars(other).items()) if had and value is old]:
                    setattr(other, name, new)


def still_says(function: Any, text: str) -> bool:
    """Whether the host's function still holds the line that a repair is about; yes if its source cannot be read.

    Git master of the host bears the version number of its last release, so that the version says nothing.
    """
    try:
        return text in inspect.getsource(function)
    except (OSError, TypeError):
        return True
