"""Shape of an option file: which blocks are mappings, which are lists, and how large a value may be.

It is checked first, so that all code that reads the options afterwards finds the types that it expects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from metaf2n_arch.utils.checks import OptionError

LARGEST = 2**53
"""Largest integer; a float cannot represent all larger ones."""
LARGEST_OF_A_NETWORK = 2**16
"""Largest integer in a network's block. No network has more layers or channels; building one would take hours."""
LONGEST = 4096
"""Largest number of characters of a text; no path is longer."""
LONGEST_NAME = 255
"""Largest number of characters between two slashes; no file has a longer name."""
_BLOCKS = ('datasets', 'path', 'train', 'val', 'logger', 'meta', 'face', 'performance', 'dist_params')


def check_shapes(opt: Mapping[str, Any], file: str) -> None:
    """Raises `OptionError`, with one line per mistake, if a block or value has the wrong type, or is too large."""
    mistakes = [f'{file}: {line}' for line in (*_values(opt, ''), *_block_shapes(opt))]
    if mistakes:
        raise OptionError('\n'.join(mistakes))


def _values(value: Any, place: str) -> Iterator[str]:
    """Yields mistakes in keys, numbers and texts at any depth."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str) or not _is_text(key):
                yield f'{place or "the file"} has the key {shown(key)}, expected names of options.'
                continue
            there = f'{place}.{key}' if place else key
            if key == 'type' and not isinstance(item, str):
                yield f'{there} is {shown(item)}, expected a name.'
            else:
                yield from _values(item, there)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _values(item, f'{place}.{number}')
    elif isinstance(value, str) and not _is_text(value):
        yield f'{place} is {shown(value)}, expected printable characters, and no name longer than {LONGEST_NAME}.'
    elif isinstance(value, int):
        limit = LARGEST_OF_A_NETWORK if place.startswith('network_') else LARGEST
        if abs(value) > limit:
            yield f'{place} is {shown(value)}, expected a number of at most {limit}.'


def _block_shapes(opt: Mapping[str, Any]) -> Iterator[str]:
    for key in [key for key in opt if key in _BLOCKS or str(key).startswith('network_')]:
        yield from _expect(opt[key], key, _is_block, 'a mapping of options')
    yield from _paths(_mapping(opt.get('path')))
    val = _mapping(opt.get('val'))
    yield from _expect(val.get('metrics'), 'val.metrics', _is_block, 'a mapping from names to metrics')
    for name, metric in _mapping(val.get('metrics')).items():
        yield from _expect(metric, f'val.metrics.{name}', _is_full, 'a mapping with a type')
    yield from _training(_mapping(opt.get('train')))
    for block, key in (('logger', 'save_checkpoint_freq'), ('logger', 'print_freq'), ('val', 'val_freq')):
        options = _mapping(opt.get(block))
        if key in options:
            yield from _expect(options[key], f'{block}.{key}', _is_positive, 'a number of iterations, at least 1')


def _paths(path: Mapping[str, Any]) -> Iterator[str]:
    for key, value in path.items():
        if str(key).startswith(('pretrain_network', 'resume_state', 'experiments_root', 'results_root')):
            yield from _expect(value, f'path.{key}', lambda v: v is None or isinstance(v, str), 'a path or null')


def _training(train: Mapping[str, Any]) -> Iterator[str]:
    losses = train.get('losses', [])
    yield from _expect(losses, 'train.losses', lambda v: _all(v, _is_full), 'a list of losses')
    for number, loss in enumerate(losses if _all(losses, _is_full) else []):
        if 'loss_weight' in loss:
            yield from _expect(loss['loss_weight'], f'train.losses.{number}.loss_weight', _is_number, 'a number')
    for key in [key for key in train if str(key).endswith('_opt') or str(key).startswith('optim_')]:
        yield from _expect(train[key], f'train.{key}', _is_block, 'a mapping with a type')
    scheduler = _mapping(train.get('scheduler'))
    for key in [key for key in ('milestones', 'periods', 'restarts', 'restart_weights') if key in scheduler]:
        yield from _expect(scheduler[key], f'train.scheduler.{key}', lambda v: _all(v, _is_number), 'a list of numbers')


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _expect(value: Any, place: str, fits: Callable[[Any], bool], expected: str) -> Iterator[str]:
    if not fits(value):
        yield f'{place} is {shown(value)}, expected {expected}.'


def _is_full(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_block(value: Any) -> bool:
    return value is None or isinstance(value, Mapping)


def _all(value: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(fits, value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_text(text: str) -> bool:
    names = max(map(len, text.split('/'))) <= LONGEST_NAME
    return names and len(text) <= LONGEST and all(c.isprintable() or c in '\n\t' for c in text)


def shown(value: Any, longest: int = 60) -> str:
    """Returns a value as text for an error message, cut to `longest` characters.

    >>> shown('a' * 100, 10)
    "'aaaaaaaa…"
    """
    text = repr(value)
    return text if len(text) <= longest else f'{text[: longest - 1]}…'


def shown_line(line: str, longest: int = 400) -> str:
    """Returns a line of an error message; of a long one the middle is left out."""
    return line if len(line) <= longest else f'{line[: longest - 120]} … {line[-100:]}'
