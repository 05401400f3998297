"""Run by test_self_similarity_triton.py in a process of its own: compiles the kernels for a GPU that is not there.

Every launch of the GPU path is compiled, with the arguments it would have, down to the machine code of one
architecture; nothing is run. Prints a line per kernel: its name and the size of its code in bytes.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from metaf2n_arch.functional.self_similarity import gpu
from metaf2n_arch.functional.self_similarity.criterion import criterion_weights
from metaf2n_arch.functional.self_similarity.geometry import Geometry


class AbsentGPU:
    """What Triton asks a driver for before it compiles."""

    def __init__(self, architecture: int) -> None:
        self.target = GPUTarget('cuda', architecture, 32)

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int | None = None) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device('cpu')


def compile_instead(kernel: JITFunction, grid: Any) -> Any:
    def launch(*args: Any, **kwargs: Any) -> None:
        compiled = kernel.warmup(*args, grid=grid, **kwargs)
        print(kernel.__name__, len(compiled.asm['cubin']), flush=True)

    return launch


if __name__ == '__main__':
    driver.set_active(AbsentGPU(int(sys.argv[1])))
    JITFunction.__getitem__ = compile_instead
    geometry = Geometry(25, 9, sys.argv[2])
    images = torch.rand(2, 2, int(sys.argv[3]), 64, 48, dtype=getattr(torch, sys.argv[4]))
    mask = torch.rand(2, 64, 48) < 0.3
    gpu.loss(*images, mask, geometry, 0.004, criterion_weights('kl+l1', 1.0), (True, True))
    graph = torch.rand(25**2, int(mask.sum()), dtype=images.dtype)
    gpu.graph_gradient(images[0], mask, graph, graph, geometry, 0.004, True)
