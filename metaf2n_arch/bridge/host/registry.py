"""`basicsr.utils.registry`: repairs of `Registry.get` and ``in``; for registering names see `utils.registries`.

Seen with BasicSR 1.4.2: for an unknown name it prints that it uses another name, which does not exist either. And
`'SRVGGNetCompact' in ARCH_REGISTRY` is false although `get` finds it. Here the error names the nearest known name. In
runs of this package it ends the program with this one line, and ``in`` is true for all names that `get` finds.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from metaf2n_arch.bridge import circle
from metaf2n_arch.bridge.patching import ORIGINALS, Repair, replace, replace_for_ours, still_says
from metaf2n_arch.utils.checks import OptionError, nearest
from metaf2n_arch.utils.registries import names

_HOST = 'basicsr.utils.registry.Registry'


class UnknownName(OptionError, KeyError):
    """A name that is not registered; also a `KeyError`, which callers of BasicSR's function may catch."""

    def __str__(self) -> str:
        return ValueError.__str__(self) if len(self.args) != 1 else str(self.args[0])


def get(self: Any, name: str, suffix: str = 'basicsr') -> Any:
    """Returns the part that is registered as `name`.

    Raises:
        KeyError: there is none; the message gives the nearest name. In runs of this package it is an `UnknownName`.
    """
    if not isinstance(name, str):
        return ORIGINALS[f'{_HOST}.get'](self, name, suffix)
    found = self._obj_map.get(name, self._obj_map.get(f'{name}_{suffix}'))
    if found is not None:
        return found
    known = names(self)
    hint = nearest(name, known) or f' Known: {", ".join(known)}.'
    message = f"No object named '{name}' found in '{self._name}' registry!{hint}"
    raise UnknownName(message) if circle.is_ours() else KeyError(message)


def contains(self: Any, name: str) -> bool:
    """Whether `get` finds `name`: some of BasicSR's own parts are registered with the suffix ``_basicsr``."""
    return name in self._obj_map or f'{name}_basicsr' in self._obj_map


def _get(module: ModuleType) -> bool:
    if not still_says(module.Registry.get, 'is not found, use name'):
        return False
    replace(module.Registry, 'get', get)
    return True


def _contains(module: ModuleType) -> bool:
    replace_for_ours(module.Registry, '__contains__', contains)
    return True


_MODULE = 'basicsr.utils.registry'
REPAIRS = [
    Repair('unknown-names', _MODULE, _get, 'prints a misleading name for an unknown one', 'everybody'),
    Repair('known-names', _MODULE, _contains, '`in` is false for some names that `get` finds'),
]
