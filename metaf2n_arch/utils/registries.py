"""Parts by name, in any of BasicSR's registries: how ours are filed there, and how any is found.

The host files some of its own under a suffix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Any, TypeVar

from metaf2n_arch.utils.checks import DataError, OptionError, nearest

Registry = Iterable[tuple[str, Any]]
"""What `basicsr.utils.registry.Registry` is to this module: pairs of name and part."""

PREFIX = 'metaf2n/'
"""In front of a part's name, it is ours for certain, whoever else has a part of that name."""
_SUFFIX = '_basicsr'
_Part = TypeVar('_Part', bound=Callable[..., Any])


def register(registry: Any) -> Callable[[_Part], _Part]:
    """Decorator that files a part of ours as ``metaf2n/<Name>``, and under its short name as long as nobody has it.

    The host ends with an AssertionError where a name is registered twice. Nobody else is to meet it because of us: the
    short name goes to whoever registers it, before or after. That does not need the bridge.

    Args:
        registry: one of BasicSR's, whichever version of it there is.
    """
    _yield_names(registry)

    def file(part: _Part) -> _Part:
        parts, name = registry._obj_map, part.__name__
        if name not in parts or _is_on_loan(parts, name):
            parts[name] = part
        parts[f'{PREFIX}{name}'] = part
        return part

    return file


def _yield_names(registry: Any) -> None:
    """Makes one registry hand short names of ours over to whoever registers them."""
    if '_do_register' in vars(registry):
        return

    def do_register(name: str, part: Any, suffix: Any = None) -> None:
        full = f'{name}_{suffix}' if isinstance(suffix, str) else name
        if _is_on_loan(registry._obj_map, full):
            del registry._obj_map[full]
        # The host's before 1.3.5 knows no suffix.
        type(registry)._do_register(registry, name, part, *([] if suffix is None else [suffix]))

    registry._do_register = do_register


def _is_on_loan(parts: Mapping[str, Any], name: str) -> bool:
    """Whether a short name stands for a part of ours."""
    return name in parts and parts[name] is parts.get(f'{PREFIX}{name}')


def names(registry: Registry) -> list[str]:
    """Returns the names of all parts, as option files spell them, sorted; the long one where another has the short."""
    parts = dict(iter(registry))
    known = {name.removesuffix(_SUFFIX) for name in parts if not name.startswith(PREFIX)}
    return sorted(
        known | {n for n, p in parts.items() if n.startswith(PREFIX) and parts.get(n[len(PREFIX) :]) is not p}
    )


def spellings(registry: Registry, name: str) -> list[str]:
    """Returns the names by which option files may call the part `name`: the long one too where it is ours."""
    part = find(registry, name)
    return [n for n in dict.fromkeys((name, f'{PREFIX}{name}')) if find(registry, n) is part]


def find(registry: Registry, name: object) -> Any:
    """Returns what `name` stands for, or None."""
    parts = dict(iter(registry))  # it has keys, but is no mapping
    return parts.get(name, parts.get(f'{name}{_SUFFIX}')) if isinstance(name, str) else None


def require(registry: Registry, name: object, where: str) -> Any:
    """Returns what `name` stands for.

    Raises:
        OptionError: the registry has no such name; the message gives `where` and the nearest name.
    """
    part = find(registry, name)
    if part is None:
        raise OptionError(f'{where} is {name!r}, which is not registered.{nearest(str(name), names(registry))}')
    return part


def build(registry: Registry, options: Mapping[str, Any], where: str) -> Any:
    """Builds ``{type: ..., ...}``, which is left as it is.

    Raises:
        OptionError: there is no type, none of that name, or it does not take these arguments.
    """
    if not isinstance(options, Mapping) or 'type' not in options:
        raise OptionError(f'{where} is {options!r}, expected a block with a type.')
    arguments = {key: deepcopy(value) for key, value in options.items() if key != 'type'}
    part = require(registry, options['type'], f'{where}.type')
    try:
        return part(**arguments)
    except (OptionError, DataError):
        raise
    except Exception as error:  # each part fails in its own way on values that are none of its own
        raise OptionError(f'{where}: {cannot_be_built(options["type"], arguments, error)}') from None


def cannot_be_built(kind: object, arguments: Mapping[str, Any], error: Exception) -> str:
    """One line for a part that has refused its arguments, however long these are."""
    given = str(dict(arguments))
    reason = (str(error).splitlines() or [''])[0][:200]
    reason = reason if isinstance(error, TypeError | ValueError) else f'{type(error).__name__}: {reason}'
    return f'{kind} cannot be built with {given if len(given) <= 300 else f"{given[:299]}…"}: {reason}'
