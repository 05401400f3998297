"""Registries of BasicSR: registers the parts of this package there, and finds any part by name.

BasicSR, "the host" in this package, registers some of its own parts with the suffix ``_basicsr``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Any, TypeVar

from metaf2n_arch.utils.checks import DataError, OptionError, nearest

Registry = Iterable[tuple[str, Any]]
"""A `basicsr.utils.registry.Registry`; this module needs its pairs (name, part) only."""

PREFIX = 'metaf2n/'
"""Prefix that always means this package's part, also where another package has a part of the same name."""
_SUFFIX = '_basicsr'
_Part = TypeVar('_Part', bound=Callable[..., Any])


def register(registry: Any) -> Callable[[_Part], _Part]:
    """Decorator that registers a part as ``metaf2n/<Name>``, and as ``<Name>`` while no other package has that name.

    BasicSR raises an AssertionError if a name is registered twice. So that no other package meets it because of this
    one, the short name is given up to any other package that registers it, earlier or later. The bridge is not needed.

    Args:
        registry: a registry of any version of BasicSR.
    """
    _give_up_short_names(registry)

    def file(part: _Part) -> _Part:
        parts, name = registry._obj_map, part.__name__
        if name not in parts or _is_own_short_name(parts, name):
            parts[name] = part
        parts[f'{PREFIX}{name}'] = part
        return part

    return file


def _give_up_short_names(registry: Any) -> None:
    """Makes a registry give up a short name of this package when another package registers it."""
    if '_do_register' in vars(registry):
        return

    def do_register(name: str, part: Any, suffix: Any = None) -> None:
        full = f'{name}_{suffix}' if isinstance(suffix, str) else name
        if _is_own_short_name(registry._obj_map, full):
            del registry._obj_map[full]
        # BasicSR before 1.3.5 has no suffix.
        type(registry)._do_register(registry, name, part, *([] if suffix is None else [suffix]))

    registry._do_register = do_register


def _is_own_short_name(parts: Mapping[str, Any], name: str) -> bool:
    """Whether a short name means a part of this package."""
    return name in parts and parts[name] is parts.get(f'{PREFIX}{name}')


def names(registry: Registry) -> list[str]:
    """Returns the names of all parts as option files spell them, sorted.

    A part of this package has its long name where another package has the short one.
    """
    parts = dict(iter(registry))
    known = {name.removesuffix(_SUFFIX) for name in parts if not name.startswith(PREFIX)}
    return sorted(
        known | {n for n, p in parts.items() if n.startswith(PREFIX) and parts.get(n[len(PREFIX) :]) is not p}
    )


def spellings(registry: Registry, name: str) -> list[str]:
    """Returns all names of the part `name` in option files: also the long one if the part is of this package."""
    part = find(registry, name)
    return [n for n in dict.fromkeys((name, f'{PREFIX}{name}')) if find(registry, n) is part]


def find(registry: Registry, name: object) -> Any:
    """Returns the part that is registered as `name`, or None."""
    parts = dict(iter(registry))  # a registry has keys(), but is not a mapping
    return parts.get(name, parts.get(f'{name}{_SUFFIX}')) if isinstance(name, str) else None


def require(registry: Registry, name: object, where: str) -> Any:
    """Returns the part that is registered as `name`.

    Raises:
        OptionError: the registry has no such name; the message gives `where` and the nearest name.
    """
    part = find(registry, name)
    if part is None:
        raise OptionError(f'{where} is {name!r}, which is not registered.{nearest(str(name), names(registry))}')
    return part


def build(registry: Registry, options: Mapping[str, Any], where: str) -> Any:
    """Builds a part from its block ``{type: ..., ...}``; the block is not changed.

    Raises:
        OptionError: the block has no type, the type is not registered, or the part rejects the arguments.
    """
    if not isinstance(options, Mapping) or 'type' not in options:
        raise OptionError(f'{where} is {options!r}, expected a block with a type.')
    arguments = {key: deepcopy(value) for key, value in options.items() if key != 'type'}
    part = require(registry, options['type'], f'{where}.type')
    try:
        return part(**arguments)
    except (OptionError, DataError):
        raise
    except Exception as error:  # a part may raise any exception for a wrong value
        raise OptionError(f'{where}: {cannot_be_built(options["type"], arguments, error)}') from None


def cannot_be_built(kind: object, arguments: Mapping[str, Any], error: Exception) -> str:
    """The message for a part that rejected its arguments; one line, long arguments are cut."""
    given = str(dict(arguments))
    reason = (str(error).splitlines() or [''])[0][:200]
    reason = reason if isinstance(error, TypeError | ValueError) else f'{type(error).__name__}: {reason}'
    return f'{kind} cannot be built with {given if len(given) <= 300 else f"{given[:299]}…"}: {reason}'
