"""MetaF2N for BasicSR: blind super-resolution that adapts to a photo from the faces in it.

Importing this package is fast: torch and basicsr are not loaded before an attribute of it is used.
"""

from __future__ import annotations

# Not from `typing`: the bridge imports this file at the start of every interpreter; `typing` would take milliseconds.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from metaf2n_arch.inference import MetaF2N as MetaF2N
    from metaf2n_arch.losses.self_similarity import SSLLoss as SSLLoss

__version__ = '0.1.0'
__all__ = ['MetaF2N', 'SSLLoss', '__version__']

_LAZY = {'MetaF2N': 'metaf2n_arch.inference', 'SSLLoss': 'metaf2n_arch.losses.self_similarity'}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_LAZY))
