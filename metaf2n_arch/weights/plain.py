"""Plain values in a weights file: numbers, texts and containers, small enough to be read and printed.

A file of a few kilobytes can contain nested lists that share their parts and have millions of items when they are
traversed or printed. Values that are not plain or not small are refused before they are used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from metaf2n_arch.utils.checks import DataError

MOST_VALUES, DEEPEST, LONGEST_TEXT = 1000, 6, 1000
"""Limits of number, depth and length of texts, far above the needs of a network's options."""


def check_plain(value: Any, path: str | Path, what: str) -> None:
    """Raises `DataError` unless `value` consists of a limited number of numbers, short texts, lists and mappings.

    Args:
        value: a value from the file `path`.
        path: the file, for messages.
        what: name of the value in messages, for example ``its options``.
    """
    count = 0
    open_values: list[tuple[Any, int]] = [(value, 0)]
    while open_values:
        one, depth = open_values.pop()
        count += 1
        if count > MOST_VALUES or depth > DEEPEST:
            raise DataError(f'{path}: {what}: more values than a network needs; take another file.')
        if isinstance(one, Mapping):
            open_values += [(each, depth + 1) for each in [*one.keys(), *one.values()][: MOST_VALUES + 1]]
        elif isinstance(one, (list, tuple)):
            open_values += [(each, depth + 1) for each in one[: MOST_VALUES + 1]]
        elif isinstance(one, str):
            if len(one) > LONGEST_TEXT:
                raise DataError(f'{path}: {what}: a text of {len(one)} characters; take another file.')
        elif not (one is None or isinstance(one, (bool, int, float))):
            raise DataError(f'{path}: {what}: a {type(one).__name__}, expected numbers and texts; take another file.')


def shortened(value: Any, longest: int = 80) -> str:
    """A value as text on one line of at most `longest` characters; of a container only the type.

    >>> shortened('x' * 100, 10)
    "'xxxxxxxx…"
    """
    if isinstance(value, str):
        text = repr(value[: longest + 1])
    elif value is None or isinstance(value, (bool, float)):
        text = repr(value)
    elif isinstance(value, int):
        text = repr(value) if value.bit_length() < 256 else 'a number of many digits'
    else:
        text = f'a {type(value).__name__}'
    return text if len(text) <= longest else text[: longest - 1] + '…'


def first_names(names: Iterable[Any], count: int = 3) -> str:
    """The first `count` names of a list from a file, for a message; long names are cut.

    >>> first_names(['a', 'b', 'c', 'd'])
    'a, b, c, …'
    """
    names = list(names)
    shown = [shortened(name).strip("'") if not isinstance(name, str) else _visible(name) for name in names[:count]]
    return ', '.join(shown) + (', …' if len(names) > count else '')


def _visible(name: str) -> str:
    cut = name[:120]
    return cut if cut.isprintable() and cut == name else repr(cut)[1:-1] + '…'
