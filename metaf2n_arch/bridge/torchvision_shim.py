"""Replacement for the removed module `torchvision.transforms.functional_tensor`.

Seen with BasicSR 1.4.2 and torchvision 0.17 and later: `data/degradations.py` imports `rgb_to_grayscale` from a module
that torchvision has removed, so that `import basicsr` fails. The replacement is used only if no other finder finds the
module. It has the functions of the module that followed it. It can be removed when all versions of BasicSR in use
import from `torchvision.transforms.functional`, as its master branch does.
"""

from __future__ import annotations

from importlib.machinery import ModuleSpec
from types import ModuleType

SHIM = 'torchvision.transforms.functional_tensor'

# Contains `SHIM` once the replacement has been imported.
used: list[str] = []


class _Loader:
    """Loader that copies the functions of the following module into the replacement."""

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        try:
            from torchvision.transforms import _functional_tensor as successor
        except ImportError:
            from torchvision.transforms import functional as successor
        vars(module).update({k: v for k, v in vars(successor).items() if not k.startswith('__')})
        used.append(SHIM)


def spec() -> ModuleSpec:
    """Returns the module spec of the replacement."""
    return ModuleSpec(SHIM, _Loader(), origin=__file__)  # type: ignore[arg-type]  # duck-typed, as importlib allows
