"""JSON schemas of parts from their signatures and docstrings: networks, losses and metrics of any registry."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any

Schema = dict[str, Any]

_ENTRY = re.compile(r'^(\s+)(\w+)\s*(?:\([^)]*\))?\s*:\s+(.+)$')


def part_schema(
    part: Callable[..., Any],
    names: list[str],
    given: Iterable[str] = (),
    more: Schema | None = None,
    closed: bool = False,
) -> Schema:
    """Returns the schema of a block ``{type: <name>, ...}`` with the arguments of `part`.

    Args:
        part: a class or function; the section ``Args:`` of its docstring describes the arguments.
        names: permitted values of ``type``, the short name first.
        given: arguments that are not in option files.
        more: further keys of the block, by name.
        closed: whether unknown keys are errors although the part accepts ``**kwargs``; metrics ignore these.

    >>> part_schema(lambda a, b=1: None, ['f'])['required']
    ['type', 'a']
    """
    described = descriptions(part)
    properties: Schema = {'type': {'enum': names}}
    required = ['type']
    open_ended = False
    for parameter in inspect.signature(part).parameters.values():
        if parameter.kind == parameter.VAR_KEYWORD:
            open_ended = True
        elif parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            if parameter.name in given:
                continue
            properties[parameter.name] = _argument(parameter, described.get(parameter.name))
            if parameter.default is parameter.empty:
                required.append(parameter.name)
    summary = ' '.join((inspect.getdoc(part) or '').partition('\n\n')[0].split())
    return {
        'description': summary or names[0],
        'type': 'object',
        'properties': {**properties, **(more or {})},
        'required': required,
        'additionalProperties': open_ended and not closed,
    }


def descriptions(part: Callable[..., Any]) -> dict[str, str]:
    """Returns argument -> description, from the docstring of a class, of its constructor, or of a function."""
    found: dict[str, str] = {}
    for source in (getattr(part, '__init__', None), part):
        found.update(_arguments_section(inspect.getdoc(source) or '' if source is not None else ''))
    return found


def _arguments_section(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    current, depth, inside = '', 0, False
    for line in text.splitlines():
        if re.match(r'^(Args|Arguments|Parameters):?\s*$', line.strip()):
            inside, current = True, ''
            continue
        if inside and line.strip() and not line.startswith(' '):
            inside = False
        entry = _ENTRY.match(line) if inside else None
        if entry and (not current or len(entry[1]) <= depth):
            current, depth = entry[2], len(entry[1])
            found[current] = entry[3].strip()
        elif inside and current and line.strip():
            found[current] += f' {line.strip()}'
    return found


def _argument(parameter: inspect.Parameter, description: str | None) -> Schema:
    schema: Schema = {'description': description or f'Argument {parameter.name}.'}
    if parameter.default is parameter.empty:
        return schema
    default = parameter.default
    kinds: list[tuple[type | tuple[type, ...], str]] = [
        (bool, 'boolean'),
        ((int, float), 'number'),
        (str, 'string'),
        ((list, tuple), 'array'),
        (dict, 'object'),
    ]
    kind = next((name for types, name in kinds if isinstance(default, types)), None)
    if default is None:
        schema['default'] = None
    elif kind is not None:
        schema['default'] = list(default) if isinstance(default, tuple) else default
        if kind in ('boolean', 'array', 'object') and parameter.annotation in (parameter.empty, 'bool', bool):
            schema['type'] = kind
    return schema
