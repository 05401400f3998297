"""Patching of BasicSR: repairs, and functions that are replaced for everybody or only in runs of this package."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from types import ModuleType
from typing import Any, Literal

from metaf2n_arch.bridge import circle

# BasicSR's own objects that were replaced, by 'module.name' or 'module.Class.name'.
ORIGINALS: dict[str, Any] = {}
# Replacements of the present repair: (owner, name, whether the owner itself had it, old object, new object).
_journal: list[tuple[Any, str, bool, Any, Any]] = []


@dataclass
class Repair:
    """One named repair of one module of BasicSR.

    Attributes:
        name: its name, as used in ``METAF2N_BRIDGE_SKIP``.
        module: module of BasicSR; the repair is applied directly after the module was executed.
        apply: function that repairs the given module, and returns False if it does not need the repair.
        why: one line about what BasicSR does without the repair.
        circle: ``everybody``: it makes BasicSR run and changes no result; ``ours``: only in runs of this package.
        applied: result of `apply`; None if it has not run, was skipped, or failed.
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
    """Replaces an attribute of a module or class of BasicSR, for everybody, and keeps the old one in `ORIGINALS`."""
    old = getattr(owner, name)
    _journal.append((owner, name, name in vars(owner), vars(owner).get(name), new))
    ORIGINALS.setdefault(f'{place_of(owner)}.{name}', old)
    setattr(owner, name, new)


def replace_for_ours(owner: ModuleType | type, name: str, new: Callable[..., Any]) -> None:
    """Replaces a function of BasicSR in runs of this package; other runs call BasicSR's own."""
    original = getattr(owner, name)

    @wraps(original)
    def switch(*arguments: Any, **named: Any) -> Any:
        return (new if circle.is_ours(*arguments) else original)(*arguments, **named)

    replace(owner, name, switch)


def place_of(owner: ModuleType | type) -> str:
    """Returns the full name of a module or class."""
    return owner.__name__ if isinstance(owner, ModuleType) else f'{owner.__module__}.{owner.__qualname__}'


def apply(repair: Repair, module: ModuleType, chase_copies: bool = False) -> None:
    """Applies a repair to its module; if it fails, the module is left unchanged.

    Args:
        repair: the repair; its `applied` is set.
        module: module of BasicSR.
        chase_copies: whether to replace the objects also in other modules of BasicSR that have imported them.

    Raises:
        Exception: the error of the repair, after all its replacements were undone.
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
    """Whether the source of BasicSR's function still contains the text that a repair is about.

    True if the source cannot be read. The version cannot tell, because BasicSR's master branch has the version number
    of the last release.
    """
    try:
        return text in inspect.getsource(function)
    except (OSError, TypeError):
        return True
