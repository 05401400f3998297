"""Run by test_self_similarity_triton.py in a process of its own, where Triton's interpreter stands in for a GPU.

Prints one line per comparison of the Triton kernels with the box filters: what, border, largest error over largest
value.
"""

import os
import sys
from functools import partial

# Before anything imports triton.
os.environ['TRITON_INTERPRET'] = '1'

import torch

from metaf2n_arch.functional.self_similarity import dispatch, gpu
from metaf2n_arch.functional.self_similarity.box import box_graph, box_loss
from metaf2n_arch.functional.self_similarity.criterion import criterion_weights
from metaf2n_arch.functional.self_similarity.fused import fused_graph, fused_loss
from metaf2n_arch.functional.self_similarity.geometry import Geometry

# Buffers that are made without being written begin as NaN.
torch.use_deterministic_algorithms(True)


def report(name: str, border: str, ours: torch.Tensor, oracle: torch.Tensor) -> None:
    error = (ours.detach() - oracle.detach()).abs().max() / oracle.detach().abs().max()
    print(name, border, error.item(), flush=True)


def compare(border: str, search: int, patch: int, channels: int, height: int, width: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    geometry = Geometry(search, patch, border)
    target = torch.rand(2, channels, height, width, dtype=dtype)
    # One image laid out as a network in channels_last gives it, the other as a data loader does.
    pred = (target + 0.1 * torch.randn_like(target)).contiguous(memory_format=torch.channels_last).requires_grad_()
    target.requires_grad_()
    mask = torch.rand(2, height, width) < 0.3
    mask[0, 0, 0] = mask[1, -1, -1] = True
    ours, oracle = fused_graph(gpu, pred, mask, geometry, 0.1), box_graph(pred, mask, geometry, 0.1)
    report('graph', border, ours, oracle)
    weight = torch.randn_like(oracle)
    gradients = [torch.autograd.grad((g * weight).sum(), pred)[0] for g in (ours, oracle)]
    report('graph-gradient', border, *gradients)
    options = (mask, geometry, 0.1, criterion_weights('kl+l1', 0.7))
    ours, oracle = fused_loss(gpu, pred, target, *options), box_loss(pred, target, *options)
    report('loss', border, ours, oracle)
    pairs = zip(torch.autograd.grad(ours, (pred, target)), torch.autograd.grad(oracle, (pred, target)))
    for which, (a, b) in zip(('pred', 'target'), pairs):
        report(f'loss-gradient-{which}', border, a, b)
    dispatch.fastest_path = lambda device: dispatch.Implementation(partial(fused_graph, gpu), partial(fused_loss, gpu))
    sizes = {'search_size': search, 'patch_size': patch, 'border': border, 'h': 0.1}
    options = {'criterion': 'kl+l1', 'l1_weight': 0.7, 'reduction': 'window', **sizes}
    ours = dispatch.self_similarity_loss(pred, target, mask, **options)
    oracle = search**2 * box_loss(pred, target, mask, geometry, 0.1, criterion_weights('kl+l1', 0.7))
    report('window', border, ours, oracle)
    report('window-gradient', border, *(torch.autograd.grad(value, pred)[0] for value in (ours, oracle)))


if __name__ == '__main__':
    # The interpreter pays for every program and every operation: few large blocks.
    gpu.BLOCK, gpu.STRIP = 256, 4
    # Not a multiple of the number of pairs: the last block of shifts is a smaller one.
    gpu.SCRATCH_NUMEL = 3 * 2 * 12 * 12
    compare(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *map(int, sys.argv[4:7]), getattr(torch, sys.argv[7]))
