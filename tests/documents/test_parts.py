"""Parts pages: every part that this package registers has its entry, with all of its fields."""

from __future__ import annotations

import importlib.util
import re
import sys

import basicsr.archs
import basicsr.losses
import basicsr.metrics
import basicsr.models  # noqa: F401
import pytest
from basicsr.utils import registry
from pages import FENCE, ROOT

import metaf2n_arch  # noqa: F401

place = ROOT / 'docs' / 'generate' / 'parts.py'
spec = importlib.util.spec_from_file_location('parts_of_the_site', place)
parts = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = parts
spec.loader.exec_module(parts)

ENTRIES = parts.entries()
KINDS = ('ARCH', 'LOSS', 'METRIC', 'MODEL')
SOURCE = re.compile(r'([A-Z][\w-]+) et al\.')


def registered() -> dict[str, object]:
    found = {}
    for kind in KINDS:
        for name, part in getattr(registry, f'{kind}_REGISTRY')._obj_map.items():
            if part.__module__.startswith('metaf2n_arch.') and '/' not in name:
                found[name] = part
    return found


REGISTERED = registered()


def test_every_registered_part_has_one_entry_and_every_entry_a_part():
    """Oracle: BasicSR's registries, which an option file is read with."""
    named = [name for entry in ENTRIES for name in entry.types]
    assert sorted(named) == sorted([*REGISTERED, 'degradation'])


@pytest.mark.parametrize('entry', ENTRIES, ids=lambda entry: entry.title)
def test_an_entry_has_equation_picture_yaml_source_agreement_and_differences(entry):
    assert '$$' in entry.text, 'no equation'
    assert any(mark in entry.text for mark in ('![', '*Picture:*', '*No picture:*')), 'no picture, and no reason why'
    for field in parts.FIELDS:
        assert entry.field(field), f'the entry has no line "- *{field}:* ..."'
    examples = ''.join(match[4] for match in FENCE.finditer(entry.text) if match[2] == 'yaml')
    assert any(name in examples for name in entry.types), 'its YAML names none of its types'


@pytest.mark.parametrize(('name', 'part'), REGISTERED.items(), ids=REGISTERED)
def test_entry_and_docstring_name_the_same_authors(name, part):
    """Oracle: the docstring, which is written beside the program."""
    entry = next(entry for entry in ENTRIES if name in entry.types)
    first = SOURCE.search(part.__doc__ or '')
    if first is not None:
        assert first[1] in entry.field('Source'), f'its docstring cites {first[0]}'
