"""Typed option blocks: a schema per block, and one clear line for each wrong key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from metaf2n_arch.utils.checks import OptionError, nearest


class Strict(BaseModel):
    """Base of every option block: unknown keys are errors, values never change after parsing.

    The docstring under a field is its description, in the JSON schema and in the reference of the options.
    """

    model_config = ConfigDict(extra='forbid', frozen=True, arbitrary_types_allowed=True, use_attribute_docstrings=True)

    renamed: ClassVar[Mapping[str, str]] = {}
    """Former name of a field -> its name now. Option files may use either."""

    @model_validator(mode='before')
    @classmethod
    def _take_former_names(cls, block: Any) -> Any:
        former = [name for name in cls.renamed if isinstance(block, Mapping) and name in block]
        if not former:
            return block
        block = dict(block)
        for name in former:
            if cls.renamed[name] in block:
                raise ValueError(f'{name} is the former name of {cls.renamed[name]}; give one of them')
            block[cls.renamed[name]] = block.pop(name)
        return block


S = TypeVar('S', bound=BaseModel)


def parse_block(schema: type[S], block: Mapping[str, Any] | None, where: str, file: str | None = None) -> S:
    """Validates one option block.

    Args:
        schema: the pydantic model that describes the block.
        block: the mapping read from YAML; `None` stands for an empty one.
        where: key path of the block inside the option file, for example ``train.meta``.
        file: name of the option file, put in front of each message if known.

    Raises:
        OptionError: one line per mistake: file, key path, what was expected, the nearest known key.

    >>> class Meta(Strict):
    ...     inner_lr: float = 1e-2
    >>> parse_block(Meta, {'inner_lr': 1}, 'train.meta').inner_lr
    1.0
    >>> parse_block(Meta, {'iner_lr': 1}, 'train.meta')
    Traceback (most recent call last):
    metaf2n_arch.utils.checks.OptionError: train.meta.iner_lr: unknown key. Did you mean 'inner_lr'?
    """
    if block is not None and not isinstance(block, Mapping):
        raise OptionError(f'{_prefix(file)}{where} is {block!r}, expected a mapping of options.')
    try:
        return schema.model_validate(dict(block or {}))
    except ValidationError as error:
        lines = [_prefix(file) + _line(item, schema, where) for item in error.errors()]
        raise OptionError('\n'.join(lines)) from None


def _prefix(file: str | None) -> str:
    return f'{file}: ' if file else ''


def _line(item: Any, schema: type[BaseModel], where: str) -> str:
    location = [str(part) for part in item['loc']]
    path = '.'.join([where, *location]) if where else '.'.join(location)
    if item['type'] == 'extra_forbidden':
        known = _known_keys(schema, location[:-1])
        hint = nearest(location[-1], known) or f' Known keys: {", ".join(sorted(known))}.'
        return f'{path}: unknown key.{hint}'
    if item['type'] == 'missing':
        return f'{path}: missing; it must be given.'
    message = item['msg'].removeprefix('Value error, ').rstrip('.')
    if item['type'] == 'literal_error':
        hint = nearest(str(item['input']), re.findall(r"'([^']*)'", item['ctx']['expected']))
        return f'{path} is {item["input"]!r}: {message[0].lower()}{message[1:]}.{hint}'
    if _block_at(schema, location) is not None:  # several keys do not fit together: the message names them
        return f'{path}: {message[0].lower()}{message[1:]}.'
    return f'{path} is {item["input"]!r}: {message[0].lower()}{message[1:]}.'


def _known_keys(schema: type[BaseModel], location: list[str]) -> list[str]:
    """Keys of the nested block at `location`; those of `schema` itself if no block is there."""
    return list((_block_at(schema, location) or schema).model_fields)


def _block_at(schema: type[BaseModel], location: list[str]) -> type[BaseModel] | None:
    """The schema of the nested block at `location`, or None if a plain value is there."""
    current: type[BaseModel] | None = schema
    for part in location:
        field = current.model_fields.get(part) if current is not None else None
        nested: Any = field.annotation if field is not None else None
        models = [c for c in (nested, *getattr(nested, '__args__', ())) if _is_schema(c)]
        current = models[0] if models else None
    return current


def _is_schema(candidate: Any) -> bool:
    # In Python 3.10 list[int] is an instance of type, but issubclass rejects it.
    return get_origin(candidate) is None and isinstance(candidate, type) and issubclass(candidate, BaseModel)
