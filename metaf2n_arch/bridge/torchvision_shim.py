"""A stand-in for `torchvision.transforms.functional_tensor`.

Seen with BasicSR 1.4.2 and torchvision 0.17 and later: `data/degradations.py` imports `rgb_to_grayscale` from a module
that torchvision removed, so that `import basicsr` dies. The stand-in is handed out only when nobody else can find the
module, and offers the names of its successor. May go when the last BasicSR in use imports from
`torchvision.transforms.functional` (git master does).
"""

from __future__ import annotations

from importlib.machinery import ModuleSpec
from types import ModuleType

SHIM = 'torchvision.transforms.functional_tensor'

# Filled when the stand-in is.
used: list[str] = []


class _Loader:
    """Fills the stand-in with the functions of the module that replaced it."""

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
    """Returns the spec of the stand-in."""
    return ModuleSpec(SHIM, _Loader(), origin=__file__)  # type: ignore[arg-type]  # duck-typed, as importlib allows
