"""Concatenations that a backward pass makes again from their parts, so that they are not kept in memory.

Before each convolution a dense block concatenates its input with all its earlier outputs. Autograd keeps each of these
concatenations: 640 channels in RRDBNet, of which 192 differ. The parts are kept anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode

_CONCATENATIONS = (torch.cat, torch.concat, torch.concatenate)


@contextmanager
def saved_in_parts() -> Iterator[None]:
    """Lets autograd save the result of `torch.cat` as its parts, for all graphs made inside the block.

    The values and gradients are bitwise the same; each use of a saved concatenation costs one copy. Backward passes
    that make a graph (``create_graph=True``) belong inside the block as well, others may run outside.

    >>> x = torch.ones(2, requires_grad=True)
    >>> with saved_in_parts():
    ...     loss = torch.cat([x, 2 * x]).square().sum()
    >>> torch.autograd.grad(loss, x)
    (tensor([10., 10.]),)
    """
    known = _Known()
    with saved_tensors_hooks(known.pack, known.unpack), _Watch(known):
        yield


class _Saved(NamedTuple):
    """A saved tensor, or the saved parts of a concatenation; outside any graph, with their versions.

    Autograd does not check the versions of tensors that hooks have packed, so `restore` does.
    """

    tensors: tuple[Tensor, ...]
    versions: tuple[int, ...]
    dim: int | None = None

    def restore(self) -> Tensor:
        if tuple(t._version for t in self.tensors) != self.versions:
            raise RuntimeError(
                'A tensor that a gradient needs was changed in place after it was used. Inside saved_in_parts() no '
                'part of a concatenation may be changed; call a network that does so outside saved_in_parts().'
            )
        return self.tensors[0] if self.dim is None else torch.cat(self.tensors, self.dim)


class _Known:
    """The concatenations in memory, by their storage: how the storage is read, and the parts."""

    def __init__(self) -> None:
        self.entries: dict[int, tuple[StorageWeakRef, tuple[Any, ...], _Saved]] = {}

    def add(self, whole: Tensor, parts: _Saved) -> None:
        # An entry keeps its parts in memory, so entries whose concatenation is freed are removed first.
        self.entries = {key: entry for key, entry in self.entries.items() if not entry[0].expired()}
        storage = whole.untyped_storage()
        # While the weak reference is held, no other storage gets this address.
        self.entries[storage._cdata] = StorageWeakRef(storage), _reading(whole), parts

    def pack(self, tensor: Tensor) -> _Saved:
        entry = self.entries.get(tensor.untyped_storage()._cdata) if self.entries else None
        if entry is None or _reading(tensor) != entry[1]:
            # Detached: else the output would keep its graph, and the graph the output; neither would be freed.
            return _Saved((tensor.detach(),), (tensor._version,))
        return entry[2]

    def unpack(self, saved: _Saved) -> Tensor:
        if saved.dim is None:
            return saved.restore()
        with torch.no_grad():
            tensor = saved.restore()
        if torch.is_grad_enabled():
            self.add(tensor, saved)  # a backward pass that makes a graph saves it again
        return tensor


def _reading(tensor: Tensor) -> tuple[Any, ...]:
    """The properties by which a tensor differs from other views of its storage, and from itself before a change."""
    place = tensor.shape, tensor.stride(), tensor.storage_offset()
    return *place, tensor.dtype, tensor.is_conj(), tensor.is_neg(), tensor._version


class _Watch(TorchFunctionMode):
    """Adds every concatenation to `_Known`."""

    def __init__(self, known: _Known) -> None:
        super().__init__()
        self.known = known

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if func in _CONCATENATIONS and torch.is_grad_enabled():
            tensors, dim = _arguments(*args, **(kwargs or {}))
            if dim is not None and all(t.dtype == made.dtype for t in tensors):
                parts = tuple(t.detach() for t in tensors)
                self.known.add(made, _Saved(parts, tuple(t._version for t in parts), dim))
        return made


def _arguments(
    tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None, out: Tensor | None = None
) -> tuple[Sequence[Tensor], int | None]:
    """The parts and the dimension of a call of `torch.cat`; None as dimension if it writes into `out`."""
    return tensors, None if out is not None else dim if axis is None else axis
