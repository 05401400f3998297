"""`basicsr` itself: it can be imported, this package's parts are registered, and its scripts start without a warning.

Seen with BasicSR 1.4.2: it imports a module that torchvision has removed (see `torchvision_shim`). It registers only
parts in its own folders (see `registration`). `python -m basicsr.train` warns that the module was imported twice.
"""

from __future__ import annotations

import warnings
from types import ModuleType

from metaf2n_arch.bridge import torchvision_shim
from metaf2n_arch.bridge.patching import Repair


def _torchvision(module: ModuleType) -> bool:
    return bool(torchvision_shim.used)


def _registration(module: ModuleType) -> bool:
    return True


def _warning(module: ModuleType) -> bool:
    warnings.filterwarnings('ignore', r"'basicsr\.\w+' found in sys\.modules after import of package", RuntimeWarning)
    return True


REPAIRS = [
    Repair('torchvision-import', 'basicsr', _torchvision, 'imports a module torchvision has removed', 'everybody'),
    Repair('registration', 'basicsr', _registration, 'registers only parts in its own folders', 'everybody'),
    Repair('double-import', 'basicsr', _warning, 'warns when its own scripts are started', 'everybody'),
]
