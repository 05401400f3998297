"""Each mistake in a block is one line: place, what is wrong, what was expected."""

from __future__ import annotations

import pytest
from pydantic import model_validator

from metaf2n_arch.utils.checks import OptionError
from metaf2n_arch.utils.options import Strict, parse_block


class Inner(Strict):
    low: int = 0
    high: int = 1

    @model_validator(mode='after')
    def _ordered(self) -> Inner:
        if self.low > self.high:
            raise ValueError(f'low {self.low} is above high {self.high}')
        return self


class Outer(Strict):
    name: str
    inner: Inner = Inner()


@pytest.mark.parametrize(
    ('block', 'line'),
    [
        ({'name': 'a', 'nam': 'b'}, "f.yml: train.outer.nam: unknown key. Did you mean 'name'?"),
        ({}, 'f.yml: train.outer.name: missing; it must be given.'),
        ({'name': 'a', 'inner': {'hihg': 2}}, "f.yml: train.outer.inner.hihg: unknown key. Did you mean 'high'?"),
        ({'name': 'a', 'inner': {'low': 3}}, 'f.yml: train.outer.inner: low 3 is above high 1.'),
        ({'name': 'a', 'zzz': 1}, 'f.yml: train.outer.zzz: unknown key. Known keys: inner, name.'),
        ([1], 'f.yml: train.outer is [1], expected a mapping of options.'),
    ],
)
def test_a_mistake_is_one_line(block, line):
    with pytest.raises(OptionError) as error:
        parse_block(Outer, block, 'train.outer', 'f.yml')
    assert str(error.value) == line


def test_a_value_of_another_kind_is_shown():
    with pytest.raises(OptionError, match=r"train\.outer\.inner\.low is 'x': .*integer"):
        parse_block(Outer, {'name': 'a', 'inner': {'low': 'x'}}, 'train.outer')


def test_a_good_block_is_parsed_and_cannot_be_changed():
    options = parse_block(Outer, {'name': 'a', 'inner': {'high': 5}}, 'train.outer')
    assert options.inner.high == 5
    with pytest.raises(ValueError, match='frozen'):
        options.name = 'b'


def test_a_former_name_is_taken_still():
    class Block(Strict):
        renamed = {'old': 'new'}
        new: int = 1

    assert parse_block(Block, {'old': 3}, 'block').new == 3
    assert 'old' not in Block.model_json_schema()['properties']
    with pytest.raises(OptionError, match='old is the former name of new; give one of them'):
        parse_block(Block, {'old': 3, 'new': 3}, 'block')
    with pytest.raises(OptionError, match=r'block\.ol: unknown key'):
        parse_block(Block, {'ol': 3}, 'block')
