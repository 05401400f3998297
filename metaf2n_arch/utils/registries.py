"""Parts by name, from any of BasicSR's registries; the host files some of its own under a suffix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

from metaf2n_arch.utils.checks import OptionError, nearest

Registry = Iterable[tuple[str, Any]]
"""What `basicsr.utils.registry.Registry` is to this module: pairs of name and part."""

PREFIX = 'metaf2n/'
"""In front of a part's name, it is ours for certain, whoever else has a part of that name."""
_SUFFIX = '_basicsr'


def names(registry: Registry) -> list[str]:
    """Returns the names of all parts, as option files spell them, sorted; the long one where another has the short."""
    parts = dict(iter(registry))
    known = {name.removesuffix(_SUFFIX) for name in parts if not name.startswith(PREFIX)}
    return sorted(
        known | {n for n, p in parts.items() if n.startswith(PREFIX) and parts.get(n[len(PREFIX) :]) is not p}
    )


def find(registry: Registry, name: object) -> Any:
    """Returns what `name` stands for, or None."""
    parts = dict(iter(registry))  # it has keys, but is no mapping
    return parts.get(name, parts.get(f'{name}{_SUFFIX}')) if isinstance(name, str) else None


def require(registry: Registry, name: object, where: str) -> Any:
    """Returns what `name` stands for.

    Raises:
        OptionError: nothing: `where` and the nearest name.
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
    except (TypeError, ValueError) as error:
        raise OptionError(f'{where}: {options["type"]} cannot be built with {arguments}: {error}') from None
