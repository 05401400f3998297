"""Small things the host says or does wrongly, none of which changes what is computed.

Seen with BasicSR 1.4.2: a name in no registry is first announced under a name that does not exist either, and
`'SRVGGNetCompact' in ARCH_REGISTRY` is false although `get` finds it; the final validation is logged one or two
iterations after the last; only Adam can be named as an optimizer; `python -m basicsr.train` warns that the module was
imported twice. May go one by one as the host mends them.
"""

from __future__ import annotations

import warnings
from types import ModuleType
from typing import Any

import torch

from metaf2n_arch.bridge import runner
from metaf2n_arch.bridge.table import ORIGINALS, Repair, replace, still_says
from metaf2n_arch.utils.checks import OptionError, nearest


class UnknownName(OptionError, KeyError):
    """A name in no registry; still the `KeyError` that callers of the host may expect."""

    def __str__(self) -> str:
        return ValueError.__str__(self) if len(self.args) != 1 else str(self.args[0])


def get(self: Any, name: str, suffix: str = 'basicsr') -> Any:
    """Returns what is registered under `name`, or raises an error that names the nearest one."""
    found = self._obj_map.get(name, self._obj_map.get(f'{name}_{suffix}'))
    if found is None:
        hint = nearest(name, self._obj_map) or f' Known: {", ".join(sorted(self._obj_map))}.'
        raise UnknownName(f"No object named '{name}' found in '{self._name}' registry!{hint}")
    return found


def contains(self: Any, name: str) -> bool:
    """Whether `get` would find `name`: BasicSR's own copy of a part is registered with its suffix."""
    return name in self._obj_map or f'{name}_basicsr' in self._obj_map


def validation(self: Any, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool = False) -> None:
    """Validates as the host does, at no later iteration than the last."""
    runner.has_begun()
    if self.opt['is_train'] and isinstance(current_iter, int):
        current_iter = min(current_iter, int(self.opt['train']['total_iter']))
    ORIGINALS['basicsr.models.base_model.BaseModel.validation'](self, dataloader, current_iter, tb_logger, save_img)


def get_optimizer(self: Any, optim_type: str, params: Any, lr: float, **kwargs: Any) -> torch.optim.Optimizer:
    """Returns any optimizer of `torch.optim` by name."""
    from metaf2n_arch.models.optimization import optimizer_class

    kind: Any = optimizer_class(optim_type, 'the type of an optimizer')
    return kind(params, lr=lr, **kwargs)


def _registry(module: ModuleType) -> bool:
    if not still_says(module.Registry.get, 'is not found, use name'):
        return False
    replace(module.Registry, 'get', get)
    replace(module.Registry, '__contains__', contains)
    return True


def _validation(module: ModuleType) -> bool:
    replace(module.BaseModel, 'validation', validation)
    return True


def _optimizer(module: ModuleType) -> bool:
    # Releases know Adam alone; git master a handful, spelt out one by one.
    if not still_says(module.BaseModel.get_optimizer, 'NotImplementedError'):
        return False
    replace(module.BaseModel, 'get_optimizer', get_optimizer)
    return True


def _warning(module: ModuleType) -> bool:
    warnings.filterwarnings('ignore', r"'basicsr\.\w+' found in sys\.modules after import of package", RuntimeWarning)
    return True


REPAIRS = [
    Repair('unknown names', 'basicsr.utils.registry', _registry, 'announces a name that does not exist either'),
    Repair('last validation', 'basicsr.models.base_model', _validation, 'logs it an iteration or two late'),
    Repair('optimizers', 'basicsr.models.base_model', _optimizer, 'knows Adam only'),
    Repair('double import', 'basicsr', _warning, 'warns about how its own scripts are started'),
]
