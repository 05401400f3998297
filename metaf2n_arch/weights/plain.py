"""Plain values in a weights file: numbers, texts and small containers, of a size that can be read and printed.

A file of some kilobytes can hold a list of lists that shares its parts and has millions of items when it is walked or
printed. What is neither small nor plain is refused before anything looks at it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from metaf2n_arch.utils.checks import DataError

MOST_VALUES, DEEPEST, LONGEST_TEXT = 1000, 6, 1000
"""Far above what the options of a network need."""


def check_plain(value: Any, path: str | Path, what: str) -> None:
    """Raises `DataError` unless `value` consists of few numbers, short texts, lists and mappings.

    Args:
        value: what `path` holds.
        path: the file, for the message.
        what: the value's name in the message, for example ``its options``.
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
    """A value in one line of bounded length; containers that may share their parts are only named.

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
    """The first of some names from a file, each cut to a length that leaves a message readable.

    >>> first_names(['a', 'b', 'c', 'd'])
    'a, b, c, …'
    """
    names = list(names)
    shown = [shortened(name).strip("'") if not isinstance(name, str) else _visible(name) for name in names[:count]]
    return ', '.join(shown) + (', …' if len(names) > count else '')


def _visible(name: str) -> str:
    cut = name[:120]
    return cut if cut.isprintable() and cut == name else repr(cut)[1:-1] + '…'
