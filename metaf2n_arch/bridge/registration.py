"""Registration of the parts of this package, and of packages built on it, in BasicSR's registries.

BasicSR imports only its own folders. So a part of a plug-in is unknown in `python -m basicsr.train` ("No object named
... in registry") and in data-loader workers that are spawned. Directly after `import basicsr`, every file of this
package with a suffix of BasicSR is imported, and then every module that an installed package names in the entry-point
group ``metaf2n.plugins``.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module, metadata
from typing import Any

from metaf2n_arch.bridge.circle import descends_from_us
from metaf2n_arch.bridge.voice import described, say

SUFFIXES = {'archs': '_arch', 'losses': '_loss', 'metrics': '_metric', 'data': '_dataset', 'models': '_model'}
GROUP = 'metaf2n.plugins'
"""Entry-point group for packages with their own parts: ``name = package.module``."""

# Part -> error, for parts that could not be imported. With one of them no run of this package starts.
failed: dict[str, Exception] = {}
# Modules of other packages, named by their entry points.
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
    """Records that BasicSR's registries exist."""
    _state['pending'] = True


def register_pending() -> None:
    """Imports every part, once, if BasicSR's registries exist.

    A part that cannot be imported must not break `import basicsr` in other programs. So it only prints one line here;
    `require_all` makes it an error in runs of this package.
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
        except (Exception, SystemExit) as error:  # a module may read the command line and exit
            say(f'the plug-in {entry.name} ({entry.value}) cannot be loaded: {described(error)}')


def is_of_the_house(part: Any) -> bool:
    """Whether a registered part belongs to this package, derives from one of it, or is of a package in `plugins`."""
    module = f'{getattr(part, "__module__", "")}.'
    return descends_from_us(part) or module.startswith(tuple(f'{name}.' for name in plugins))


def require_all() -> None:
    """Raises `ImportError` if parts could not be imported; the message names each."""
    if failed:
        lines = [f'{name} cannot be registered with BasicSR: {described(error)}' for name, error in failed.items()]
        raise ImportError('\n'.join(lines)) from next(iter(failed.values()))
