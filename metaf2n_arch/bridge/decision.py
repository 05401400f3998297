"""Decision whether a run is one of this package: it names a part of it, lists plug-ins, or the environment asks for it.

The option file is read without executing anything, and no mistake in it is reported here: if the run is not one of this
package, the file is left to BasicSR.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from metaf2n_arch.bridge import circle, registration
from metaf2n_arch.config.text import find_option_file, peek
from metaf2n_arch.utils.checks import OptionError
from metaf2n_arch.utils.registries import find

# Section of an option file -> kind of registry in which its `type` is looked up.
_SECTIONS = {'network': 'ARCH', 'datasets': 'DATASET', 'val': 'METRIC', 'train': 'LOSS', 'model': 'MODEL'}
_IN_TEXT = re.compile(r'\b(?:model_)?type\s*:\s*[\'"]?([\w/.-]+)')


class _Quiet(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def decide(arguments: list[str] | None = None) -> None:
    """Decides for this process by its command line, and records it in `circle`."""
    circle.decide(*kind_of_run(sys.argv[1:] if arguments is None else arguments))


def kind_of_run(arguments: list[str]) -> tuple[bool, str]:
    """Returns whether a run with this command line is one of this package, and the reason in words."""
    if os.environ.get(circle.SWITCH) == 'all':
        return True, f'{circle.SWITCH} is all'
    file, forced = _command_line(arguments)
    if file is None:
        return False, 'the command line names no option file'
    try:
        path = find_option_file(file)
    except OptionError:
        named = 'metaf2n' in Path(file).name
        return named, f'{file}: no such file' + (', but its name contains metaf2n' if named else '')
    if path != Path(file):
        return True, f'{path} is an option file of this package'
    text = path.read_text(encoding='utf-8', errors='replace')
    content = peek(text)
    if not isinstance(content, Mapping):
        return _of_text(text, str(path))
    for entry in forced:
        place, _, value = entry.partition('=')
        content = {**content, f'{_first(place)}:forced': {place.rpartition(':')[2].strip(): peek(value)}}
    if _asks(content.get('plugins')) or any(entry.startswith('plugins') for entry in forced):
        return True, f'{path} lists plug-ins'
    for section, name in _named(content):
        if _is_part(section, name):
            return True, f'{path} names {name}'
    return False, f'{path} names no part of this package'


def _command_line(arguments: list[str]) -> tuple[str | None, list[str]]:
    """The option file and the options of ``--force_yml``, parsed as by BasicSR's own parser (with abbreviations)."""
    parser = _Quiet(add_help=False)
    parser.add_argument('-opt', '--opt')
    parser.add_argument('--force_yml', nargs='+', default=[])
    for option in ('--launcher', '--local_rank'):
        parser.add_argument(option)
    for switch in ('--auto_resume', '--debug'):
        parser.add_argument(switch, action='store_true')
    try:
        found, _ = parser.parse_known_args(arguments)
    except ValueError:
        return None, []
    return found.opt, found.force_yml


def _asks(plugins: Any) -> bool:
    """Whether ``plugins`` is a list of names, as this package reads it; other programs may have blocks there."""
    listed = plugins if isinstance(plugins, list) else [plugins]
    return bool(listed) and all(isinstance(name, str) and name for name in listed)


def _first(place: str) -> str:
    return place.partition(':')[0].strip()


def _named(content: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Yields (section, name) for every `type` in an option file, at any depth."""
    yield 'model', content.get('model_type')
    for key, block in content.items():
        key = str(key).partition(':')[0]
        section = 'network' if key.startswith('network') else key
        if key == 'model_type' and isinstance(block, Mapping):  # given by --force_yml
            yield from (('model', name) for name in block.values())
        elif section in _SECTIONS:
            yield from ((section, name) for name in _types(block))


def _types(block: Any) -> Iterator[Any]:
    if isinstance(block, Mapping):
        for key, value in block.items():
            if key == 'type':
                yield value
            else:
                yield from _types(value)
    elif isinstance(block, list):
        for value in block:
            yield from _types(value)


def _is_part(section: str, name: Any) -> bool:
    """Whether `name` is a part of this package, or may be one that could not be imported."""
    from basicsr.utils import registry

    part = find(getattr(registry, f'{_SECTIONS[section]}_REGISTRY'), name)
    if part is not None:
        return registration.is_of_the_house(part)
    return isinstance(name, str) and (name.startswith('metaf2n/') or bool(registration.failed))


def _of_text(text: str, path: str) -> tuple[bool, str]:
    """Decides for a file that is not valid YAML, so that the right reader, BasicSR's or this package's, reports it."""
    for name in _IN_TEXT.findall(text):
        if any(_is_part(section, name) for section in _SECTIONS):
            return True, f'{path} names {name}'
    return False, f'{path} is not a mapping of options and names no part of this package'
