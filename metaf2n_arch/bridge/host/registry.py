"""`basicsr.utils.registry`: what `Registry.get` and ``in`` do today; how names are filed says `utils.registries`.

Seen with BasicSR 1.4.2: a name in no registry is first announced under a name that does not exist either, and
`'SRVGGNetCompact' in ARCH_REGISTRY` is false although `get` finds it. The error names the nearest known name instead;
in runs of ours it is one that ends the program with that one line, and ``in`` says what `get` would find.
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
    """A name in no registry; still the `KeyError` that callers of the host may expect."""

    def __str__(self) -> str:
        return ValueError.__str__(self) if len(self.args) != 1 else str(self.args[0])


def get(self: Any, name: str, suffix: str = 'basicsr') -> Any:
    """Returns what is registered under `name`, or raises an error that names the nearest one."""
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
    """Whether `get` would find `name`: BasicSR's own copy of a part is registered with its suffix."""
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
    Repair('unknown-names', _MODULE, _get, 'announces a name that does not exist either', 'everybody'),
    Repair('known-names', _MODULE, _contains, 'denies names that it finds'),
]
