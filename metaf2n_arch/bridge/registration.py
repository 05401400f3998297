"""Registration: BasicSR's registries know every part of ours, and of those who build on us.

The host scans only its own folders, so that a plug-in is unknown to `python -m basicsr.train` ("No object named ... in
registry"), and equally in data-loader workers that start afresh. As soon as `import basicsr` has completed, every file
of ours that carries BasicSR's suffix is imported, and then every module that an installed package names in the
entry-point group ``metaf2n.plugins``.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module, metadata
from typing import Any

from metaf2n_arch.bridge.circle import descends_from_us
from metaf2n_arch.bridge.voice import described, say

SUFFIXES = {'archs': '_arch', 'losses': '_loss', 'metrics': '_metric', 'data': '_dataset', 'models': '_model'}
GROUP = 'metaf2n.plugins'
"""Entry-point group of packages that bring parts of their own: ``name = package.module``."""

# Parts that could not be imported, with the reason. A run of ours refuses to start while there is one.
failed: dict[str, Exception] = {}
# Modules of other packages that their entry points name.
plugins: list[str] = []
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

    A part that cannot be imported must not take `import basicsr` away from programs that never asked for it: one line
    tells of it here, and `require_all` turns it into an error in a run of ours.
    """
    if not _state['pending']:
        return
    _state['pending'] = False
    for name in part_names():
        try:
            import_module(name)
        except Exception as error:
            failed[name] = error
    if failed:
        first, reason = next(iter(failed.items()))
        more = f', and {len(failed) - 1} more' if len(failed) > 1 else ''
        say(
            f'{first} cannot be registered with BasicSR: {described(reason)}{more}; '
            '`python -m metaf2n_arch.bridge` lists them.'
        )
    _load_plugins()


def _load_plugins() -> None:
    for entry in metadata.entry_points(group=GROUP):
        try:
            import_module(entry.module)
            plugins.append(entry.module)
        except (Exception, SystemExit) as error:  # a module that reads a command line ends the program
            say(f'the plug-in {entry.name} ({entry.value}) cannot be loaded: {described(error)}')


def is_of_the_house(part: Any) -> bool:
    """Whether a registered part is ours, made from one of ours, or of a package that has an entry point with us."""
    module = f'{getattr(part, "__module__", "")}.'
    return descends_from_us(part) or module.startswith(tuple(f'{name}.' for name in plugins))


def require_all() -> None:
    """Raises `ImportError`, naming each part that could not be imported."""
    if failed:
        lines = [f'{name} cannot be registered with BasicSR: {described(error)}' for name, error in failed.items()]
        raise ImportError('\n'.join(lines)) from next(iter(failed.values()))
