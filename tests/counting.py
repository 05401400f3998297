"""Costs of a call that can be counted, and so need no quiet machine: operations, multiplications, large tensors."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


class Counted(TorchDispatchMode):
    """Counts what is done inside it.

    Args:
        large: bytes of a large tensor; by default those from which glibc gives a block back to the system when it is
            freed, and takes the next one anew.

    Attributes:
        operations: how often each operation of torch was called, by its name.
        flops: floating point operations of convolutions and matrix products; a multiplication and an addition are two.
        large: how many tensors of more bytes than that were made; views, and operations in place, make none.
    """

    def __init__(self, large: int = 32 << 20) -> None:
        super().__init__()
        self._limit = large
        self.operations: Counter[str] = Counter()
        self.flops = self.large = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.operations[func.overloadpacket.__name__] += 1
        if func.overloadpacket in flop_registry:
            self.flops += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=result)
        self.large += len(self._large(result) - self._large((args, kwargs)))
        return result

    def _large(self, tree: Any) -> set[int]:
        """Where the memory of the large tensors lies that are somewhere in lists, tuples and dictionaries."""
        large = [x for x in tree_leaves(tree) if isinstance(x, torch.Tensor) and x.nbytes > self._limit]
        return {x.untyped_storage().data_ptr() for x in large}
