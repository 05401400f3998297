"""Activation checkpointing inside a network that is called with parameters from outside."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def outermost(net: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """Returns the named modules of `net` that lie in no other named one."""
    chosen = set(names)
    parents = {name: [name[:i] for i, letter in enumerate(name) if letter == '.'] for name in names}
    return [net.get_submodule(name) for name in names if not chosen.intersection(parents[name])]


@contextmanager
def checkpointed(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Lets each module forget its activations and compute them again on the way back, for forwards in the block.

    The parameters in place at the forward are handed to the checkpoint explicitly. Without that, the second
    computation, long after `functional_call` has put the network's own parameters back, would use the wrong ones.
    """
    for module in modules:
        module.__dict__['forward'] = _forgetful(copy.copy(module))
    try:
        yield
    finally:
        for module in modules:
            del module.__dict__['forward']


def _forgetful(plain: nn.Module) -> Callable[..., Any]:
    """A forward of `plain`, a shallow copy that keeps the class's own forward, behind a checkpoint."""

    def run(tensors: dict[str, Tensor], *inputs: Any) -> Any:
        return torch.func.functional_call(plain, tensors, inputs)

    def forward(*inputs: Any) -> Any:
        tensors = {**dict(plain.named_parameters()), **dict(plain.named_buffers())}
        return checkpoint(run, tensors, *inputs, use_reentrant=False)

    return forward
