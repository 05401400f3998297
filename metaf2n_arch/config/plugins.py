"""Plug-ins: ``plugins: [my_arch.py, my.package]`` in an option file imports modules that register their own parts.

A file is imported under its own name, and its folder is added to Python's search path, so that spawned data-loader
workers find its classes.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from metaf2n_arch.utils.checks import OptionError


def load_plugins(listed: Any, file: str) -> list[ModuleType]:
    """Imports the modules in the key ``plugins`` of an option file.

    Args:
        listed: names of modules and paths of ``.py`` files, relative to the working directory or else to the folder of
            `file`.
        file: the option file.

    Raises:
        OptionError: it is not a list of names, a module is not found, or its import fails.
    """
    if listed is None:
        return []
    if not isinstance(listed, list) or not all(isinstance(name, str) and name for name in listed):
        raise OptionError(
            f'{file}: plugins is {listed!r}, expected a list of modules and files: [my_arch.py, my.package].'
        )
    return [_load(name, f'{file}: plugins.{number}', file) for number, name in enumerate(listed)]


def _load(name: str, where: str, file: str) -> ModuleType:
    if name.endswith('.py'):
        name = _make_importable(name, where, file)
    elif str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # `python -m` adds the working directory, `python file.py` does not
    try:
        return import_module(name)
    except (Exception, SystemExit) as error:  # a module may read the command line and exit
        reason = ' '.join(str(error).split())[:200]
        raise OptionError(f'{where}: {name} cannot be imported ({type(error).__name__}: {reason}).') from error


def _make_importable(name: str, where: str, file: str) -> str:
    """Adds the folder of a file to the search path; returns the name of the module."""
    places = [Path(name).expanduser(), Path(file).parent / name]
    path = next((place.resolve() for place in places if place.is_file()), None)
    if path is None:
        raise OptionError(f'{where}: there is no file {name}, neither in {Path.cwd()} nor beside the option file.')
    if not path.stem.isidentifier():
        raise OptionError(f'{where}: {name}: a module cannot have this name; use letters, digits and underscores.')
    loaded = sys.modules.get(path.stem)
    if loaded is not None and Path(getattr(loaded, '__file__', None) or '.').resolve() != path:
        raise OptionError(f'{where}: {name}: a module {path.stem} is imported already; give the file another name.')
    if str(path.parent) not in sys.path:
        # At the front, also for the workers: an installed module of the same name would hide the file.
        sys.path.insert(0, str(path.parent))
    return path.stem
