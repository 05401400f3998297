"""Faster arithmetic for the networks of a training, each kind an option; losses and weights stay in float32."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from metaf2n_arch.meta import functional
from metaf2n_arch.meta.concatenation import saved_in_parts
from metaf2n_arch.models.model_options import PerformanceOptions

DTYPES = {'bf16': torch.bfloat16, 'fp16': torch.float16}


class Performance:
    """How networks are called in training.

    Args:
        options: what is wanted.
        device: where the networks are.
    """

    def __init__(self, options: PerformanceOptions, device: torch.device) -> None:
        self.options = options
        self.device = device
        self.memory_format = torch.channels_last if options.channels_last else None
        if options.tf32 is not None:
            torch.backends.cuda.matmul.allow_tf32 = options.tf32
            torch.backends.cudnn.allow_tf32 = options.tf32

    def lay_out(self, net: nn.Module) -> nn.Module:
        """Brings a network's weights to the wanted layout; their values stay."""
        for p in net.parameters():
            if self.memory_format is not None and p.ndim == 4:
                p.data = p.data.contiguous(memory_format=self.memory_format)
        return net

    def faster(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Returns `call` in the wanted arithmetic, its results in float32."""
        if self.options.autocast is None:
            return call

        dtype = DTYPES[self.options.autocast]

        def autocast_call(*inputs: Any) -> Any:
            with torch.autocast(self.device.type, dtype):
                made = call(*inputs)
            return tree_map(lambda x: x.float() if isinstance(x, Tensor) and x.is_floating_point() else x, made)

        return autocast_call

    def scaler(self) -> torch.amp.GradScaler | None:
        """A new scaler of losses, where gradients are float16 and would underflow; else None."""
        return torch.amp.GradScaler(self.device.type) if self.options.autocast == 'fp16' else None

    def saving(self) -> AbstractContextManager[None]:
        """A block whose graphs save memory, see `saved_in_parts`. Compiled networks decide themselves what to save."""
        wanted = self.options.concatenations == 'parts' and self.options.compile is None
        return saved_in_parts() if wanted else nullcontext()

    def pure(self, net: nn.Module) -> Callable[..., Any]:
        """Returns the network as a function of its parameters, see `functional`."""
        return self.faster(functional(net, self.memory_format))
