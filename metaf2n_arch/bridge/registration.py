"""Repair `registration`: BasicSR's registries know every part of ours.

The host scans only its own folders, so that a plug-in is unknown to `python -m basicsr.train` ("No object named ... in
registry"), and equally in data-loader workers that start afresh. As soon as `import basicsr` has completed, every file
of ours that carries BasicSR's suffix is imported. May go when BasicSR offers an entry point for plug-ins.
"""

from __future__ import annotations

import pkgutil
import warnings
from importlib import import_module

SUFFIXES = {'archs': '_arch', 'losses': '_loss', 'metrics': '_metric', 'data': '_dataset', 'models': '_model'}

# Parts that could not be imported, with the reason. The runner refuses to start while there is one.
failed: dict[str, Exception] = {}
_state = {'pending': False}


def part_names() -> list[str]:
    """Returns the full names of all modules that register something, lower floors first."""
    names = []
    for folder, suffix in SUFFIXES.items():
        package = import_module(f'metaf2n_arch.{folder}')
        found = [module.name for module in pkgutil.iter_modules(package.__path__) if module.name.endswith(suffix)]
        names += [f'metaf2n_arch.{folder}.{name}' for name in sorted(found)]
    return names


def host_is_ready() -> None:
    """Notes that BasicSR's registries exist."""
    _state['pending'] = True


def register_pending() -> None:
    """Imports every part, once, if the host is ready.

    A part that cannot be imported must not take `import basicsr` away from programs that never asked for it: it is
    named in a warning here, and `require_all` turns it into an error in the runner.
    """
    if not _state['pending']:
        return
    _state['pending'] = False
    for name in part_names():
        try:
            import_module(name)
        except Exception as error:
            failed[name] = error
            warnings.warn(f'{name} cannot be registered with BasicSR: {_line(error)}', RuntimeWarning, stacklevel=2)


def require_all() -> None:
    """Raises `ImportError`, naming each part that could not be imported."""
    if failed:
        lines = [f'{name} cannot be registered with BasicSR: {_line(error)}' for name, error in failed.items()]
        raise ImportError('\n'.join(lines)) from next(iter(failed.values()))


def _line(error: Exception) -> str:
    return f'{type(error).__name__}: {error}'
