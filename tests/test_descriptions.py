"""Every option says what it means: its description is what editors, the reference and `metaf2n options` show."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import metaf2n_arch
from metaf2n_arch.utils.options import Strict


def schemas(base: type[Strict] = Strict) -> Iterator[type[Strict]]:
    for schema in base.__subclasses__():
        if schema.__module__.startswith('metaf2n_arch.'):
            yield schema
        yield from schemas(schema)


def load_all() -> None:
    for module in pkgutil.walk_packages(metaf2n_arch.__path__, 'metaf2n_arch.'):
        if not module.name.startswith(
            ('metaf2n_arch.bridge', 'metaf2n_arch.functional', 'metaf2n_arch.cli', 'metaf2n_arch.web')
        ):
            importlib.import_module(module.name)


load_all()
FIELDS = [(schema, name) for schema in dict.fromkeys(schemas()) for name in schema.model_fields]


def test_the_schemas_are_found():
    assert {'MetaOptions', 'TermOptions', 'StageConfig', 'RestoreOptions'} <= {schema.__name__ for schema, _ in FIELDS}


@pytest.mark.parametrize(('schema', 'name'), FIELDS, ids=lambda value: getattr(value, '__name__', value))
def test_an_option_is_described_in_a_sentence(schema, name):
    description = schema.model_fields[name].description
    assert description is not None, f'{schema.__name__}.{name} wants a docstring under it'
    assert description.endswith('.')
    assert len(description) > 10


def test_no_schema_describes_its_fields_a_second_time():
    assert not [schema.__name__ for schema, _ in FIELDS if 'Attributes:' in (schema.__doc__ or '')]
