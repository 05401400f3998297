"""A pretend device: tensors that lie on the CPU, say that they do not, and refuse to be mixed with those that do.

What it refuses is what GPUs refuse: operations on tensors of two devices (numbers and indices from the CPU may be
mixed in), generators of another device, NumPy; and float64, which Apple's GPUs do not have. It borrows the name
``meta``, whose backward passes torch runs in the calling thread.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from basicsr.models.base_model import BaseModel
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

NAME = 'meta'
_aten = torch.ops.aten
MOVES = {_aten._to_copy.default, _aten.copy_.default, _aten.set_.source_Tensor}
INDEXED = {_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default, _aten._index_put_impl_.default}

# Results that hold less than their values until an operation above this one fills them in.
PLAIN = {
    _aten._efficientzerotensor.default: _aten.zeros.default,
    _aten._conj.default: _aten.conj_physical.default,
    _aten._neg_view.default: _aten.neg.default,
}


class Pretend(torch.Tensor):
    """A tensor of the pretend device, whose content is the CPU tensor `held`."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Pretend:
        if held.dtype == torch.float64:
            raise TypeError('the pretend device has no float64')
        layout = {'strides': held.stride(), 'storage_offset': held.storage_offset(), 'dtype': held.dtype}
        return torch.Tensor._make_wrapper_subclass(cls, held.size(), device=NAME, **layout)

    def __init__(self, held: torch.Tensor) -> None:
        self.held = held

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    def __getitem__(self, index: Any) -> Any:  # torch makes a list an index of the same device, without its numbers
        parts = index if isinstance(index, tuple) else (index,)
        return super().__getitem__(tuple(torch.tensor(part) if isinstance(part, list) else part for part in parts))

    def quantile(self, *arguments: Any, **named: Any) -> torch.Tensor:  # which torch computes in float64 on CPUs alone
        return Pretend(self.held.quantile(*arguments, **named))

    def __reduce_ex__(self, protocol: int) -> Any:
        return _on_device, (self.held, self.requires_grad)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


def _on_device(held: torch.Tensor, requires_grad: bool) -> torch.Tensor:
    return held.to(NAME).requires_grad_(requires_grad)


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Runs an operation on what the tensors hold; the result lies where the tensors, or the argument `device`, say."""
    tensors = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, torch.Tensor)]
    ours = [each for each in tensors if isinstance(each, Pretend)]
    wanted = kwargs.get('device')
    wanted = None if wanted is None else torch.device(wanted).type
    if ours and func not in MOVES:
        strange = [
            each for each in tensors if not isinstance(each, Pretend) and each.ndim and each.device.type == 'cpu'
        ]
        if strange and not (func in INDEXED and all(not each.is_floating_point() for each in strange)):
            raise RuntimeError(f'{func}: tensors of two devices, one of them on the CPU of shape {strange[0].shape}')
    generator = kwargs.get('generator')
    if generator is not None and (ours or wanted == NAME):
        raise RuntimeError(f'{func}: expected a generator of the device {NAME}, found one of the CPU')
    inside = {key: torch.device('cpu') if key == 'device' and wanted == NAME else v for key, v in kwargs.items()}
    bare = tree_map(lambda x: x.held if isinstance(x, Pretend) else x, (args, inside))
    func = PLAIN.get(func, func)
    out = func(*bare[0], **bare[1])
    there = wanted == NAME or (bool(ours) and wanted is None)
    if func is _aten.copy_.default:
        return args[0]
    if not there:
        return out
    wrapped = tree_map(lambda x: Pretend(x) if isinstance(x, torch.Tensor) else x, out)
    return return_and_correct_aliasing(func, args, kwargs, wrapped) if ours else wrapped


class _Mode(TorchDispatchMode):
    """Operations that no tensor of the device takes part in: those that make one, or move one there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


def _constants(stack: ExitStack) -> None:
    """Tensors of numbers, which torch leaves empty where their device is called ``meta``."""
    of_numbers, like = torch.tensor, torch.Tensor.new_tensor

    def tensor(data: Any, *, device: Any = None, **named: Any) -> torch.Tensor:
        made = of_numbers(data, **named)
        return made if device is None else made.to(device)

    def new_tensor(self: torch.Tensor, data: Any, **named: Any) -> torch.Tensor:
        if not isinstance(self, Pretend):
            return like(self, data, **named)
        return of_numbers(data, **{'dtype': self.dtype, **named}).to(NAME)

    stack.enter_context(mock.patch.object(torch, 'tensor', tensor))
    stack.enter_context(mock.patch.object(torch.Tensor, 'new_tensor', new_tensor))


@contextmanager
def pretending() -> Iterator[torch.device]:
    """Within it tensors may be made on, and moved to, the device, and BasicSR's models lie there."""
    before, autocast = BaseModel.__init__, torch.autocast

    def build(model: BaseModel, opt: dict[str, Any]) -> None:
        before(model, opt)
        model.device = torch.device(NAME)

    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings('ignore', message='.*copying from a non-meta parameter')  # which copies, here
        _constants(stack)
        stack.enter_context(mock.patch.object(BaseModel, '__init__', build))
        # The name has no autocast of its own; that of the CPU does nothing to tensors of another device.
        cpu = {NAME: 'cpu'}
        named = lambda kind, *a, **k: autocast(cpu.get(kind, kind), *a, **k)  # noqa: E731 - one expression
        stack.enter_context(mock.patch.object(torch, 'autocast', named))
        # Views of wrapped tensors cannot be made in inference mode, which does no more than `no_grad` to their numbers.
        stack.enter_context(mock.patch.object(torch, 'inference_mode', torch.no_grad))
        stack.enter_context(_Mode())
        yield torch.device(NAME)
