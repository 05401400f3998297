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
    """Returns the named modules of `net` that lie in no other named module."""
    chosen = set(names)
    parents = {name: [name[:i] for i, letter in enumerate(name) if letter == '.'] for name in names}
    return [net.get_submodule(name) for name in names if not chosen.intersection(parents[name])]


@contextmanager
def checkpointed(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Inside the block, a forward of each module does not keep its activations; the backward computes them again.

    The parameters of the forward are passed to the checkpoint explicitly. Otherwise the second computation would use
    the wrong ones: by then `functional_call` has restored the network's own parameters.
    """
    for module in modules:
        module.__dict__['forward'] = _recomputing_forward(copy.copy(module))
    try:
        yield
    finally:
        for module in modules:
            del module.__dict__['forward']


def _recomputing_forward(plain: nn.Module) -> Callable[..., Any]:
    """The forward of `plain`, a shallow copy with the class's own forward, inside a checkpoint."""

    def run(tensors: dict[str, Tensor], *inputs: Any) -> Any:
        return torch.func.functional_call(plain, tensors, inputs)

    def forward(*inputs: Any) -> Any:
        tensors = {**dict(plain.named_parameters()), **dict(plain.named_buffers())}
        return checkpoint(run, tensors, *inputs, use_reentrant=False)

    return forward
