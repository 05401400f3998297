"""Option blocks on the command line: a name, YAML in one line, or a block of an option file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metaf2n_arch.utils.checks import OptionError


def part(text: str, name: str) -> Any:
    """A detector or restorer: its plain name, or its option block written as YAML."""
    return _mapping(text, name) if text.lstrip().startswith('{') else text


def network_block(text: str | None, key: str, name: str) -> Any:
    """A network's block, written as YAML or taken from an option file."""
    if text is None or text.lstrip().startswith('{'):
        return None if text is None else _mapping(text, name)
    try:
        options = _mapping(Path(text).read_text(encoding='utf-8'), text)
    except UnicodeDecodeError:
        raise OptionError(f'{name} {text}: no text; give an option file, or {{type: ..., ...}}.') from None
    except OSError as error:
        raise OptionError(f'{name} {text}: {error.strerror}; give an option file, or {{type: ..., ...}}.') from None
    if not isinstance(options.get(key), dict):
        raise OptionError(f'{name} {text}: the file has no block {key}.')
    return options[key]


def _mapping(text: str, name: str) -> dict[str, Any]:
    import yaml

    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise OptionError(f'{name}: no valid YAML ({" ".join(str(error).split())[:160]}).') from None
    if not isinstance(value, dict):
        raise OptionError(f'{name} is {text[:80]!r}, expected {{type: ..., ...}}.')
    return value
