"""Start-up of the bridge: an import hook, installed in every Python interpreter by `metaf2n_bridge.pth`.

Only a start-up file also reaches data-loader workers that are spawned or started by a fork server. It must cost almost
nothing in programs that never import BasicSR. So this file imports only modules that the interpreter has loaded
already; the repairs are imported when the first module of BasicSR is searched for.

    METAF2N_BRIDGE=0            turns the bridge off
    METAF2N_BRIDGE=all          applies all repairs in every run, see `circle`
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
    """Lets the other finders find a module of BasicSR or a part of this package, and repairs it after its execution.

    A program that imports a name from that module then gets the repaired object; there are no old copies to replace.
    """

    def __init__(self) -> None:
        # (thread, name) of running searches, to stop a recursion: other tools' finders call all finders, as this one.
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
            except Exception:  # a program without stderr
                pass
            return spec


def activate() -> None:
    """Installs the import hook once, unless METAF2N_BRIDGE=0; repairs BasicSR if it is already imported."""
    off = os.environ.get('METAF2N_BRIDGE') == '0'
    if off or any(type(finder).__name__ == 'BridgeFinder' for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, BridgeFinder())
    if 'basicsr' in sys.modules:
        from metaf2n_arch.bridge import hooks

        hooks.catch_up()


activate()
