"""Reader of option files: safe YAML, numbers such as 1e-4 as numbers, and the values of ``--force_yml``."""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import yaml

from metaf2n_arch.utils.checks import OptionError, nearest
from metaf2n_arch.utils.resources import option_files, shipped_option_file

_Base: Any = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)

# YAML 1.1 requires a dot and a signed exponent, so PyYAML reads `1e-4` as a string.
_FLOAT = re.compile(
    r'[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))(?:[eE][-+]?[0-9]+)?$'
    r'|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$'
)


MOST_NODES = 100_000
"""Largest number of values, lists and mappings in an option file, with its aliases expanded."""


class OptionLoader(_Base):
    """A safe YAML loader; a subclass, so that the loaders of other programs are not changed."""

    def get_single_data(self) -> Any:
        """Constructs the document, unless it has more than `MOST_NODES` nodes with its aliases expanded.

        For example, ten lines that each contain nine aliases of the line before would expand to 9^10 values.
        """
        node = self.get_single_node()
        if node is None:
            return None
        _count(node, {})
        return self.construct_document(node)


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """The number of nodes in `node` with aliases expanded, in a time linear in the length of the text."""
    if id(node) in known:
        if known[id(node)] == 0:
            raise yaml.constructor.ConstructorError(None, None, 'an anchor contains itself', node.start_mark)
        return known[id(node)]
    known[id(node)] = 0
    children: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        children = node.value
    elif isinstance(node, yaml.MappingNode):
        children = [item for pair in node.value for item in pair]
    total = 1 + sum(_count(child, known) for child in children)
    if total > MOST_NODES:
        problem = f'anchors and aliases make more than {MOST_NODES} values of this; write the values out'
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    known[id(node)] = total
    return total


def _mapping(loader: Any, node: yaml.MappingNode) -> OrderedDict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = key_node.value
        if key in seen and isinstance(key, str) and key_node.tag != 'tag:yaml.org,2002:merge':
            raise yaml.constructor.ConstructorError(None, None, f'the key {key!r} is given twice', key_node.start_mark)
        seen.add(key if isinstance(key, str) else id(key_node))
    loader.flatten_mapping(node)
    return OrderedDict(loader.construct_pairs(node, deep=True))


OptionLoader.add_implicit_resolver('tag:yaml.org,2002:float', _FLOAT, list('-+0123456789.'))
OptionLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


class _PeekingLoader(_Base):
    """A loader that accepts everything: an unknown tag becomes None, and the last of equal keys is used."""


_PeekingLoader.add_multi_constructor('', lambda loader, suffix, node: None)


def peek(text: str) -> Any:
    """Returns the content of a YAML text, or None if it is not YAML; executes nothing, and reports no mistakes."""
    try:
        return yaml.load(text, Loader=_PeekingLoader)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):
        return None


def parse_yaml(text: str, name: str) -> Any:
    """Returns the content of a YAML text; executes nothing, and expands aliases into separate objects.

    Raises:
        OptionError: a syntax error, or a tag that would build a Python object; one line with `name`, line and column.
    """
    try:
        return _unshared(yaml.load(text, Loader=OptionLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f'{name}:{mark.line + 1}:{mark.column + 1}' if mark else name
        problem = error.problem or error.context
        if 'could not determine a constructor for the tag' in str(problem):
            tag = str(problem).split("'")[1].replace('tag:yaml.org,2002:', '!!')
            problem = f'the tag {tag} is refused; option files may contain plain values only, remove it'
        raise OptionError(f'{place}: {problem}.') from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise OptionError(f'{name}: not a valid option file ({" ".join(str(error).split())}).') from None


def _unshared(value: Any) -> Any:
    """Copies objects that YAML aliases share: BasicSR removes keys from blocks, which must not change other blocks."""
    if isinstance(value, dict):
        return OrderedDict((k, _unshared(v)) for k, v in value.items())
    return [_unshared(v) for v in value] if isinstance(value, list) else value


def find_option_file(path: str) -> Path:
    """Returns the option file `path`, or the shipped option file of that name if there is no such file.

    Raises:
        OptionError: there is neither.
    """
    if Path(path).is_file():
        return Path(path)
    name = path.replace('\\', '/').removeprefix('./').removeprefix('options/')
    shipped = shipped_option_file(name) if not Path(path).is_absolute() else None
    if shipped is None:
        hint = nearest(name, option_files()) if path.startswith('options') else ''
        raise OptionError(f'{path}: no such option file in {Path.cwd()}.{hint} Check -opt.')
    return shipped


def read_option_file(path: str | Path) -> OrderedDict[str, Any]:
    """Returns the mapping in an option file, which must be UTF-8 in any locale.

    Raises:
        OptionError: the file cannot be read, is empty, is not YAML, or does not contain a mapping.
    """
    try:
        text = Path(path).read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise OptionError(f'{path}: not UTF-8 at byte {error.start}; save it as UTF-8.') from None
    except OSError as error:
        raise OptionError(f'{path}: cannot be read ({error.strerror}).') from None
    content = parse_yaml(text, str(path))
    if content is None:
        raise OptionError(f'{path}: the option file is empty.')
    if not isinstance(content, OrderedDict):
        raise OptionError(f'{path}: contains a {type(content).__name__}, expected a mapping of options.')
    return content


def force_option(options: dict[str, Any], entry: str) -> None:
    """Applies one ``a:b:c=value`` of `--force_yml` to `options` in place; a number such as in `a:0:c` indexes a list.

    The value is YAML, read as in the option file: `1e-4`, `[1, 2]`, `null`, `true`. The keys must exist.

    Raises:
        OptionError: there is no ``=``, a key is unknown (the message gives the nearest one), or an index is outside its
            list.
    """
    place, separator, text = entry.partition('=')
    keys = [key.strip() for key in place.split(':')]
    if not separator or not all(keys):
        raise OptionError(f'--force_yml {entry}: expected key=value, with nested keys as a:b=value.')
    value = parse_yaml(text, f'--force_yml {place}')
    current: Any = options
    for i, key in enumerate(keys):
        where = f'--force_yml {":".join(keys[: i + 1])}'
        index = _index(current, key, where)
        if i == len(keys) - 1:
            current[index] = value
        current = current[index]


def _index(container: Any, key: str, where: str) -> Any:
    """Returns the list index or the key of a mapping that `key` names; keys of a mapping need not be strings."""
    if isinstance(container, list):
        if not key.isdigit() or int(key) >= len(container):
            raise OptionError(f'{where}: expected an index of the list, from 0 to {len(container) - 1}.')
        return int(key)
    if not isinstance(container, dict):
        raise OptionError(f'{where}: unknown key, {container!r} has no keys.')
    if key in container:
        return key
    for known in container:
        if str(known) == key:
            return known
    hint = nearest(key, map(str, container)) or f' Known keys: {", ".join(map(str, container))}.'
    raise OptionError(f'{where}: unknown key.{hint}')
