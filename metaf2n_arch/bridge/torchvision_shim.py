"""Repair `torchvision-import`: a stand-in for `torchvision.transforms.functional_tensor`.

The host (BasicSR 1.4.2, `data/degradations.py`) imports `rgb_to_grayscale` from a module that torchvision removed in
0.17, so that `import basicsr` dies. The stand-in is handed out only when nobody else can find the module, and offers
the names of its successor. May go when the last BasicSR in use imports from `torchvision.transforms.functional`.
"""

from __future__ import annotations

from importlib.machinery import ModuleSpec
from types import ModuleType

from metaf2n_arch.bridge.startup import SHIM

used = False


class _Loader:
    """Fills the stand-in with the functions of the module that replaced it."""

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        global used
        try:
            from torchvision.transforms import _functional_tensor as successor
        except ImportError:
            from torchvision.transforms import functional as successor
        vars(module).update({k: v for k, v in vars(successor).items() if not k.startswith('__')})
        used = True


def spec() -> ModuleSpec:
    """Returns the spec of the stand-in."""
    return ModuleSpec(SHIM, _Loader(), origin=__file__)  # type: ignore[arg-type]
