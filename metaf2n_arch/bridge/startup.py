"""The start-up: one light import hook, installed in every interpreter by `metaf2n_bridge.pth`.

A start-up file is the one route that also reaches spawned and forkserver data-loader workers. It must cost next to
nothing where BasicSR is never imported, so this file imports nothing but what the interpreter has loaded already; the
repairs are looked up the moment the first module of BasicSR is searched for.

    METAF2N_BRIDGE=0            turns the bridge off
    METAF2N_BRIDGE=all          makes every run one of ours, see `circle`
    METAF2N_BRIDGE_SKIP=a,b     leaves single repairs out, see `python -m metaf2n_arch.bridge`
"""

from __future__ import annotations

import os
import sys
from _thread import get_ident

TYPE_CHECKING = False  # not from `typing`, which is not loaded yet
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

PARTS = tuple(f'metaf2n_arch.{floor}.' for floor in ('archs', 'losses', 'metrics', 'data', 'models'))
SHIM = 'torchvision.transforms.functional_tensor'


class BridgeFinder:
    """Lets the other finders find a module of BasicSR (or a part of ours), and repairs it right after it has run.

    Whoever imports a name from that module later gets the repaired one, so that no copies have to be chased.
    """

    def __init__(self) -> None:
        # What each thread is looking for: other tools' finders ask all others in turn, as this one does.
        self._searched: set[tuple[int, str]] = set()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not (name == 'basicsr' or name.startswith(('basicsr.', *PARTS)) or name == SHIM):
            return None
        search = (get_ident(), name)
        if search in self._searched:
            return None
        self._searched.add(search)
        try:
            finders = [getattr(finder, 'find_spec', None) for finder in sys.meta_path if finder is not self]
            specs = (find(name, path, target) for find in finders if find)
            spec = next((spec for spec in specs if spec is not None), None)
        finally:
            self._searched.discard(search)
        try:
            from metaf2n_arch.bridge import hooks

            return hooks.observe(name, spec)
        except Exception as error:
            try:  # noqa: SIM105 - contextlib may not be loaded yet
                sys.stderr.write(f'metaf2n_arch: BasicSR stays as it is: {type(error).__name__}: {error}\n')
            except Exception:  # a program without an output
                pass
            return spec


def activate() -> None:
    """Installs the import hook once, unless the environment says METAF2N_BRIDGE=0; repairs a host that is there."""
    off = os.environ.get('METAF2N_BRIDGE') == '0'
    if off or any(type(finder).__name__ == 'BridgeFinder' for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, BridgeFinder())
    if 'basicsr' in sys.modules:
        from metaf2n_arch.bridge import hooks

        hooks.catch_up()


activate()
