"""What happens when a module of BasicSR, or a part of ours, is imported: its repairs run, our parts are registered."""

from __future__ import annotations

import threading
from importlib.machinery import ModuleSpec
from types import ModuleType

from metaf2n_arch.bridge import registration, torchvision_shim

# Threads that are inside the body of one of our parts: registration waits until none is half-imported.
_inside = threading.local()


def observe(name: str, spec: ModuleSpec | None) -> ModuleSpec | None:
    """Returns `spec` with its loader watched, or a stand-in for a module that torchvision no longer has."""
    if name == torchvision_shim.SHIM:
        return spec or torchvision_shim.spec()
    if spec is None or spec.loader is None or not hasattr(spec.loader, 'exec_module'):
        return spec
    execute = spec.loader.exec_module
    ours = name.startswith('metaf2n_arch.')

    def exec_module(module: ModuleType) -> None:
        _inside.depth = getattr(_inside, 'depth', 0) + ours
        try:
            execute(module)
        finally:
            _inside.depth -= ours
        if not ours:
            # Not before: a part of ours may need neither the host nor torch.
            from metaf2n_arch.bridge import table

            table.repair(module)
        if name == 'basicsr':
            registration.host_is_ready()
        if _inside.depth == 0:
            registration.register_pending()

    # On the instance: whatever else asks this loader (runpy, inspect, importlib.resources) finds it unchanged.
    spec.loader.exec_module = exec_module  # type: ignore[method-assign]  # an attribute over the method
    return spec
