"""Floor 4: restoration of one photo: networks, options, adaptation, result.

The options can be imported without torch, so that a wrong option is reported before anything is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metaf2n_arch.inference.metaf2n import MetaF2N as MetaF2N
    from metaf2n_arch.inference.restoration import Opened as Opened
    from metaf2n_arch.inference.restoration import Restoration as Restoration
    from metaf2n_arch.inference.restore_options import RestoreOptions as RestoreOptions

__all__ = ['MetaF2N', 'Opened', 'Restoration', 'RestoreOptions']

_LAZY = {
    'MetaF2N': 'metaf2n_arch.inference.metaf2n',
    'Opened': 'metaf2n_arch.inference.restoration',
    'Restoration': 'metaf2n_arch.inference.restoration',
    'RestoreOptions': 'metaf2n_arch.inference.restore_options',
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
