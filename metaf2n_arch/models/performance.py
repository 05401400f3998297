"""Mixed precision, memory layout and TF32 for the networks in training; losses and weights stay in float32."""

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
    """Calls of networks in training, by the block ``performance``.

    Args:
        options: the block.
        device: device of the networks.
    """

    def __init__(self, options: PerformanceOptions, device: torch.device) -> None:
        self.options = options
        self.device = device
        self.memory_format = torch.channels_last if options.channels_last else None
        if options.tf32 is not None:
            torch.backends.cuda.matmul.allow_tf32 = options.tf32
            torch.backends.cudnn.allow_tf32 = options.tf32

    def lay_out(self, net: nn.Module) -> nn.Module:
        """Changes the memory layout of a network's weights as the options say; their values do not change."""
        for p in net.parameters():
            if self.memory_format is not None and p.ndim == 4:
                p.data = p.data.contiguous(memory_format=self.memory_format)
        return net

    def faster(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Returns `call` in the precision of the options, with its results in float32."""
        if self.options.autocast is None:
            return call

        dtype = DTYPES[self.options.autocast]

        def autocast_call(*inputs: Any) -> Any:
            with torch.autocast(self.device.type, dtype):
                made = call(*inputs)
            return tree_map(lambda x: x.float() if isinstance(x, Tensor) and x.is_floating_point() else x, made)

        return autocast_call

    def scaler(self) -> torch.amp.GradScaler | None:
        """Returns a new loss scaler for float16, where small gradients would become 0; else None."""
        return torch.amp.GradScaler(self.device.type) if self.options.autocast == 'fp16' else None

    def saving(self) -> AbstractContextManager[None]:
        """Returns a context in which graphs need less memory, see `saved_in_parts`; not for compiled networks."""
        wanted = self.options.concatenations == 'parts' and self.options.compile is None
        return saved_in_parts() if wanted else nullcontext()

    def pure(self, net: nn.Module) -> Callable[..., Any]:
        """Returns the network as a function of its parameters, see `functional`."""
        return self.faster(functional(net, self.memory_format))
