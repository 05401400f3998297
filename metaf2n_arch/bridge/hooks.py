"""Import hooks of BasicSR's modules and of this package's parts: apply the repairs and register the parts.

Nothing here raises an error. A failure prints one line, and the import continues as without the bridge.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType

from metaf2n_arch.bridge import circle, recognition, registration, torchvision_shim
from metaf2n_arch.bridge.voice import described, say

# Per thread: how many parts of this package are being imported; registration waits until none is.
_inside = threading.local()
# Why the package `basicsr` of this process is left alone; empty if it is the published one.
foreign = {'why': ''}


def observe(name: str, spec: ModuleSpec | None) -> ModuleSpec | None:
    """Returns `spec` with a hook after its module has run, or a replacement for a module that torchvision removed."""
    if name == torchvision_shim.SHIM:
        left_out = spec is not None or 'torchvision-import' in circle.skipped()
        return spec if left_out else torchvision_shim.spec()
    if spec is None or spec.loader is None or not hasattr(spec.loader, 'exec_module'):
        return spec
    ours = name.startswith('metaf2n_arch.')
    if name == 'basicsr':
        if wrong := circle.misspelt():
            say(wrong)
        foreign['why'] = recognition.why_foreign(spec) or ''
    if foreign['why'] and not ours:
        return spec
    execute = spec.loader.exec_module

    def exec_module(module: ModuleType) -> None:
        _inside.depth = getattr(_inside, 'depth', 0) + ours
        try:
            execute(module)
        finally:
            _inside.depth -= ours
        if not ours:
            _quietly(_repair, module)
        if name == 'basicsr' and 'registration' not in circle.skipped():
            registration.host_is_ready()
        if _inside.depth == 0:
            _quietly(registration.register_pending)

    # Set on the instance, so that others who use this loader (runpy, inspect, importlib.resources) find it unchanged.
    spec.loader.exec_module = exec_module  # type: ignore[method-assign]  # hides the method of the class
    return spec


def catch_up() -> None:
    """Repairs a BasicSR that was imported before the bridge, also where its modules hold copies of a function."""
    package = sys.modules['basicsr']
    spec = getattr(package, '__spec__', None)
    foreign['why'] = 'it has no spec' if spec is None else recognition.why_foreign(spec) or ''
    if foreign['why']:
        return
    for name in [name for name in sys.modules if name == 'basicsr' or name.startswith('basicsr.')]:
        _quietly(_repair, sys.modules[name], True)
    registration.host_is_ready()
    _quietly(registration.register_pending)


def _repair(module: ModuleType, late: bool = False) -> None:
    # Not at the top: a part of this package may need neither BasicSR nor torch.
    from metaf2n_arch.bridge import table

    table.repair(module, late)


def _quietly(function: Callable[..., None], *arguments: object) -> None:
    try:
        function(*arguments)
    except Exception as error:
        say(f'BasicSR stays as it is: {described(error)}')
