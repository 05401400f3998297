"""Random states, so that a loss is evaluated a second time with the same draws (dropout, stochastic depth)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from metaf2n_arch.meta.params import Params


@dataclass(frozen=True)
class Draws:
    """The states of torch's random generators at one moment: of the CPU and of the parameters' devices."""

    cpu: Tensor
    cuda: dict[torch.device, Tensor]

    @classmethod
    def of(cls, theta: Params) -> Draws:
        """Captures the states now."""
        devices = {p.device for p in theta.values() if p.device.type == 'cuda'}
        return cls(torch.get_rng_state(), {device: torch.cuda.get_rng_state(device) for device in devices})

    @contextmanager
    def again(self) -> Iterator[None]:
        """Sets the captured states inside the block; afterwards the states from before the block are restored."""
        with torch.random.fork_rng(devices=list(self.cuda)):
            torch.set_rng_state(self.cpu)
            for device, state in self.cuda.items():
                torch.cuda.set_rng_state(state, device)
            yield
