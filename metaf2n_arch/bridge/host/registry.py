"""`basicsr.utils.registry`: what `Registry` does today.

Seen with BasicSR 1.4.2: a name in no registry is first announced under a name that does not exist either, and
`'SRVGGNetCompact' in ARCH_REGISTRY` is false although `get` finds it.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from metaf2n_arch.bridge.patching import Repair, replace, replace_for_ours, still_says
from metaf2n_arch.utils.checks import OptionError, nearest


class UnknownName(OptionError, KeyError):
    """A name in no registry; still the `KeyError` that callers of the host may expect."""

    def __str__(self) -> str:
        return ValueError.__str__(self) if len(self.args) != 1 else str(self.args[0])


def get(self: Any, name: str, suffix: str = 'basicsr') -> Any:
    """Returns what is registered under `name`, or raises an error that names the nearest one."""
    found = self._obj_map.get(name, self._obj_map.get(f'{name}_{suffix}'))
    if found is None:
        hint = nearest(name, self._obj_map) or f' Known: {", ".join(sorted(self._obj_map))}.'
        raise UnknownName(f"No object named '{name}' found in '{self._name}' registry!{hint}")
    return found


def contains(self: Any, name: str) -> bool:
    """Whether `get` would find `name`: BasicSR's own copy of a part is registered with its suffix."""
    return name in self._obj_map or f'{name}_basicsr' in self._obj_map


def _get(module: ModuleType) -> bool:
    if not still_says(module.Registry.get, 'is not found, use name'):
        return False
    replace(module.Registry, 'get', get)
    replace_for_ours(module.Registry, '__contains__', contains)
    return True


REPAIRS = [
    Repair('unknown-names', 'basicsr.utils.registry', _get, 'announces a name that does not exist either', 'everybody'),
]
