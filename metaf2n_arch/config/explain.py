"""Explanations of options, by key path, by the last word of it, or by the name of a part."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from metaf2n_arch.config.schema import option_schema
from metaf2n_arch.utils.checks import OptionError, nearest
from metaf2n_arch.utils.registries import PREFIX

Schema = dict[str, Any]
_NAMES = {'network': 'network_g', 'loss': 'train.losses', 'stock_loss': 'train.pixel_opt', 'metric': 'val.metrics'}


@dataclass(frozen=True)
class Explained:
    """Explanation of one option."""

    place: str
    """Key path, with the type of the part: ``train.ema_decay``, ``datasets.train (PairedImageDataset).gt_size``."""
    schema: Schema
    """JSON schema of the option."""
    required: bool = False
    """Whether the option is required."""

    @property
    def key(self) -> str:
        """Last word of the key path."""
        return self.place.rpartition('.')[2]

    @property
    def plain_place(self) -> str:
        """Key path without the types of parts."""
        return '.'.join(word.partition(' (')[0] for word in self.place.split('.'))

    def lines(self) -> list[str]:
        """Returns two lines: key path, values and default; and the description."""
        values = ', '.join(part for part in (_values(self.schema), self._default()) if part)
        return [f'{self.place}: {values}' if values else self.place, f'    {self.schema.get("description", "")}']

    def _default(self) -> str:
        if self.required:
            return 'must be given'
        return f'default {_written(self.schema["default"])}' if 'default' in self.schema else ''


def explain(key: str) -> list[Explained]:
    """Returns the explanations of all options that `key` names.

    Args:
        key: a key path (``train.ema_decay``, ``datasets.train.gt_size``), its last word (``ema_decay``), or the name of
            a part (``SSLLoss``), for all its options.

    Raises:
        OptionError: there is no such option; the message gives the nearest one.
    """
    options = list(all_options(option_schema()))
    wanted = key.strip().strip(':').strip('.').removeprefix(PREFIX)
    of_part = [option for option in options if f'({wanted})' in option.place]
    if of_part:
        return of_part
    exact = [option for option in options if _without_phase(option.plain_place) == _without_phase(wanted)]
    found = exact or [option for option in options if option.plain_place.endswith(f'.{wanted}') or option.key == wanted]
    if not found:
        known = {option.key for option in options} | {option.plain_place for option in options}
        known |= {part for option in options for part in re.findall(r'\((\w+)\)', option.place)}
        raise OptionError(f'{key}: no such option or part.{nearest(wanted, sorted(known))}')
    return found


def all_options(schema: Schema) -> Iterator[Explained]:
    """Yields every option of the schema; the options of a block follow the block."""
    yield from _inside(schema, '', schema['$defs'], frozenset())
    for name, definition in schema['$defs'].items():
        kind, separator, part = name.partition('.')
        if separator and kind != 'stock_loss':
            yield from _inside(definition, f'{_NAMES[kind]} ({part})', schema['$defs'], frozenset())
    for condition in schema['properties']['datasets']['additionalProperties']['allOf']:
        part = condition['if']['properties']['type']['enum'][0]
        target = _resolved(condition['then'], schema['$defs'])
        yield from _inside(target, f'datasets.train ({part})', schema['$defs'], frozenset())
    for condition in schema['allOf']:
        models = condition['if']['properties']['model_type']['enum']
        block = _resolved(condition['then']['properties']['train'], schema['$defs'])
        place = 'train' if 'MetaF2NModel' in models else f'train ({models[0]})'
        yield from _inside(block, place, schema['$defs'], frozenset())


def _inside(schema: Schema, place: str, definitions: Schema, seen: frozenset[int]) -> Iterator[Explained]:
    schema = _resolved(schema, definitions)
    if id(schema) in seen:
        return
    for key, value in schema.get('properties', {}).items():
        inner = f'{place}.{key}' if place else key
        whole = _resolved(value, definitions)
        own = {**whole, **{k: v for k, v in value.items() if k in ('description', 'default')}}
        if key != 'type' or _is_choice(value):
            yield Explained(inner, own, key in schema.get('required', ()))
        yield from _inside(value, inner, definitions, seen | {id(schema)})


def _is_choice(schema: Schema) -> bool:
    """Whether a ``type`` has a choice, and is not just the name (short or long) of the part of its block."""
    return len({str(name).removeprefix(PREFIX) for name in schema.get('enum', ())}) != 1


def _resolved(schema: Schema, definitions: Schema) -> Schema:
    """Resolves a reference, also that of an option that may be null."""
    for candidate in (schema, *schema.get('allOf', ()), *schema.get('anyOf', ())):
        if '$ref' in candidate:
            return definitions[candidate['$ref'].removeprefix('#/$defs/')]
    return schema


def _without_phase(place: str) -> str:
    words = place.split('.')
    return '.'.join(['datasets', 'train', *words[2:]]) if words[0] == 'datasets' and len(words) > 2 else place


def _values(schema: Schema) -> str:
    """The permitted values, in words."""
    if 'enum' in schema:
        return 'one of ' + ', '.join(_written(value) for value in schema['enum'])
    if 'anyOf' in schema:
        return ' or '.join(dict.fromkeys(filter(None, (_values(choice) for choice in schema['anyOf']))))
    kind = {'integer': 'whole number', 'boolean': 'true or false', 'object': 'block', 'array': 'list'}
    name = str(kind.get(schema.get('type', ''), schema.get('type', '')) if isinstance(schema.get('type'), str) else '')
    bounds = [('minimum', '>='), ('exclusiveMinimum', '>'), ('maximum', '<='), ('exclusiveMaximum', '<')]
    limits = [f'{sign} {schema[bound]:g}' for bound, sign in bounds if bound in schema]
    return ' '.join([name, *limits]).strip()


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace('"', '')
