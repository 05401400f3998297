"""The GPU path: the whole batch at once, a block of shifts at a time, by the Triton kernels."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, NamedTuple, ParamSpec, TypeVar, cast

import torch
import triton
from torch import Tensor
from triton.runtime import driver

from metaf2n_arch.functional.self_similarity import triton_adjoint, triton_kernel
from metaf2n_arch.functional.self_similarity.criterion import CriterionWeights, Gradients, Wanted
from metaf2n_arch.functional.self_similarity.geometry import EPSILON, Geometry
from metaf2n_arch.utils.padding import reflect_pad, reflect_pad_adjoint

BLOCK = 128
STRIP = 8
# Size of the scratch buffer, in numbers: it holds one plane for each pair of shifts that is computed at once.
SCRATCH_NUMEL = 1 << 25
# CUDA's limit on the second axis of a grid.
GRID = 65535

# The oldest architecture that Triton compiles for.
VOLTA = 70

P = ParamSpec('P')
R = TypeVar('R')


def on_its_device(function: Callable[Concatenate[Tensor, P], R]) -> Callable[Concatenate[Tensor, P], R]:
    """Makes the device of the first argument current, because Triton launches kernels on the current device."""

    @functools.wraps(function)
    def run(image: Tensor, *args: P.args, **kwargs: P.kwargs) -> R:
        with torch.cuda.device_of(image):
            return function(image, *args, **kwargs)

    return cast(Callable[Concatenate[Tensor, P], R], run)


def require() -> None:
    """Raises `ImportError` if Triton cannot run: without a C compiler, which builds its launcher, or on an old GPU."""
    try:
        target = driver.active.get_current_target()
    except Exception as error:  # any error of the driver, the compiler or the linker
        raise ImportError(str(error).strip().split('\n')[0]) from error
    if target.backend == 'cuda' and target.arch < VOLTA:
        raise ImportError(f'the GPU has compute capability {target.arch / 10}, triton needs {VOLTA / 10} or more')


@on_its_device
def graph(image: Tensor, mask: Tensor, geometry: Geometry, h: float, normalize: bool) -> Tensor:
    """S or S̄ of the masked pixels of a (B, C, H, W) batch: (K², M)."""
    batch = Batch(mask, geometry)
    numbers = _numbers(geometry, h, CriterionWeights(0.0, 0.0), image.shape[1], image.dtype, image.device)
    return batch.graph(_pad(image, geometry), numbers, normalize)


@on_its_device
def graph_gradient(
    image: Tensor, mask: Tensor, graph: Tensor, upstream: Tensor, geometry: Geometry, h: float, normalize: bool
) -> Tensor:
    """The gradient of the batch (B, C, H, W) from `graph` and the gradient `upstream` of it, both (K², M)."""
    batch = Batch(mask, geometry)
    numbers = _numbers(geometry, h, CriterionWeights(0.0, 0.0), image.shape[1], image.dtype, image.device)
    graph, upstream = graph.contiguous(), upstream.contiguous()
    out = torch.empty_like(graph)
    if batch.count:
        size = (batch.count, geometry.search_size)
        triton_kernel.graph_upstream[batch.grid](graph, upstream, numbers, out, *size, NORMALIZE=normalize, BLOCK=BLOCK)
    return batch.gradient(_pad(image, geometry), out)


@on_its_device
def loss(
    pred: Tensor, target: Tensor, mask: Tensor, geometry: Geometry, h: float, weights: CriterionWeights, wanted: Wanted
) -> tuple[Tensor, Gradients]:
    """The mean difference of both batches' graphs over all M K² entries, and its gradients where `wanted`."""
    batch = Batch(mask, geometry)
    if not batch.count:
        first, second = (torch.zeros_like(x) if want else None for x, want in zip((pred, target), wanted))
        return pred.new_zeros(()), (first, second)
    numbers = _numbers(geometry, h, weights, pred.shape[1], pred.dtype, pred.device)
    padded = [_pad(x, geometry) for x in (pred, target)]
    graphs = [batch.graph(x, numbers, True) for x in padded]
    size = (batch.count, geometry.search_size)
    sums = pred.new_empty(batch.grid[0])
    triton_kernel.compare[batch.grid](*graphs, numbers, sums, *size, BLOCK=BLOCK)
    # Both derivatives read both graphs, so the derivative that replaces its graph comes last.
    outs = [graphs[0], torch.empty_like(graphs[1]) if wanted[1] else graphs[1]]
    for which in (1, 0):
        if wanted[which]:
            arguments = (*graphs, numbers, outs[which], *size)
            triton_kernel.upstream[batch.grid](*arguments, OF_TARGET=which == 1, BLOCK=BLOCK)
    first, second = (batch.gradient(x, u) if want else None for x, u, want in zip(padded, outs, wanted))
    return (sums.double().sum() / (batch.count * geometry.search_size**2)).to(pred.dtype), (first, second)


def _pad(image: Tensor, geometry: Geometry) -> Tensor:
    """The reflect-padded images, contiguous as the kernels expect them, also if the images are channels_last."""
    return reflect_pad(image, geometry.pad).contiguous()


class Tables(NamedTuple):
    """Tables about shifts that the kernels read: a row for each pair, and how the search window cuts patches.

    `pairs`: see `triton_kernel`; `extents`: first and last offset (top, bottom, left, right) that each kind of cut
    leaves; `kinds`: the kind of cut of each shift, -1 for an uncut patch.
    """

    pairs: Tensor
    extents: Tensor
    kinds: Tensor


# Cached on the device, because a copy from the host makes the host wait for the device.
@functools.lru_cache(maxsize=64)
def _tables(geometry: Geometry, device: torch.device) -> Tables:
    shifts = range(-geometry.radius, geometry.radius + 1)
    whole = (-geometry.patch_radius, geometry.patch_radius)
    extents = [(*geometry.extent(dy), *geometry.extent(dx)) for dy in shifts for dx in shifts]
    known = {extent: i for i, extent in enumerate(sorted(set(extents) - {(*whole, *whole)}))}
    kinds = [known.get(extent, -1) for extent in extents]
    rows = (_pair_table(geometry), torch.tensor(list(known)).reshape(-1, 4), torch.tensor(kinds))
    return Tables(*(x.to(device, torch.int32) for x in rows))


@functools.lru_cache(maxsize=64)
def _numbers(
    geometry: Geometry, h: float, weights: CriterionWeights, channels: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Factors of the kernels: scale, 2 · scale, kl, l1, 1e-10. As plain arguments they would lose precision."""
    scale = -1 / (h * channels * geometry.patch_size**2)
    return torch.tensor([scale, 2 * scale, weights.kl, weights.l1, EPSILON], dtype=dtype, device=device)


class Batch:
    """The masked pixels of a batch, and the computations on its padded images (B, C, Hp, Wp)."""

    def __init__(self, mask: Tensor, geometry: Geometry) -> None:
        self.geometry = geometry
        self.size = tuple(mask.shape)
        self.pixels = mask.nonzero().to(torch.int32).contiguous()
        self.count = len(self.pixels)
        self.grid = (triton.cdiv(self.count, BLOCK),)
        self.tables = _tables(geometry, mask.device)
        self.window = geometry.border == 'window'
        # The number of each masked pixel, -1 elsewhere.
        self.numbering = mask.flatten().cumsum(0, dtype=torch.int32).sub_(1).view(self.size).masked_fill_(~mask, -1)

    def graph(self, padded: Tensor, numbers: Tensor, normalize: bool) -> Tensor:
        """S or S̄: (K², M)."""
        side = self.geometry.search_size
        out = padded.new_empty(side**2, self.count)
        if not self.count:
            return out
        out[side**2 // 2].zero_()
        rest = self._rest(padded) if self.window else out
        channels, height, width = padded.shape[1:]
        for table, scratch in self._blocks(padded):
            pairs = len(table)
            strips = triton.cdiv(width, BLOCK) * triton.cdiv(height, STRIP)
            size = (channels, height, width, pairs)
            triton_kernel.column_sums[(strips, pairs * self.size[0])](
                padded, table, scratch, *size, STRIP=STRIP, BLOCK=BLOCK
            )
            where = (self.pixels, self.tables.kinds, rest, out, self.count, height, width, self.geometry.pad, pairs)
            triton_kernel.distances[self.grid[0], 2 * pairs](scratch, table, *where, WINDOW=self.window, BLOCK=BLOCK)
        triton_kernel.similarities[self.grid](out, numbers, self.count, side, NORMALIZE=normalize, BLOCK=BLOCK)
        return out

    def gradient(self, padded: Tensor, upstream: Tensor) -> Tensor:
        """The images' gradient, (B, C, H, W); `upstream` is twice the gradient of the distances, (K², M)."""
        batch, height, width = self.size
        channels, pad = padded.shape[1], self.geometry.pad
        if self.window and self.count:
            gradient = padded * self._rest_gradient(padded, upstream).unsqueeze(1)
        else:
            gradient = torch.zeros_like(padded)
        if self.count:
            full = padded.shape[-2:]
            blocks = triton.cdiv(full[0] * full[1], BLOCK)
            for table, scratch in self._blocks(padded):
                pairs = len(table)
                where = (self.count, height, width, pad, pairs)
                triton_adjoint.row_sums[(blocks, pairs * batch)](
                    upstream, self.numbering, table, scratch, *where, BLOCK=BLOCK
                )
                triton_adjoint.gather_gradient[(blocks, batch)](
                    padded, scratch, table, gradient, channels, *full, pairs,
                    BLOCK=BLOCK, CHANNELS=triton.next_power_of_2(channels),
                )  # fmt: skip
        return reflect_pad_adjoint(gradient, pad)

    def _blocks(self, padded: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The pairs in blocks, each with the scratch that all blocks share."""
        planes = padded.shape[0] * padded.shape[2] * padded.shape[3]
        at_once = max(1, min(len(self.tables.pairs), SCRATCH_NUMEL // planes, GRID // padded.shape[0]))
        scratch = padded.new_empty(at_once * planes)
        return [(part, scratch) for part in self.tables.pairs.split(at_once)] if len(self.tables.pairs) else []

    def _rest(self, padded: Tensor) -> Tensor:
        energy = padded.square().sum(1)
        kinds = len(self.tables.extents)
        rest = padded.new_empty(max(kinds, 1), self.count)
        if kinds:
            where = (self.count, *energy.shape[1:], self.geometry.pad, self.geometry.patch_radius)
            triton_adjoint.outside_energy[self.grid[0], kinds](
                energy, self.pixels, self.tables.extents, rest, *where, BLOCK=BLOCK
            )
        return rest

    def _rest_gradient(self, padded: Tensor, upstream: Tensor) -> Tensor:
        batch, height, width = self.size
        kinds = len(self.tables.extents)
        out = padded.new_zeros(batch, *padded.shape[2:])
        if kinds:
            sums = padded.new_empty(kinds, self.count)
            side, pad = self.geometry.search_size, self.geometry.pad
            triton_adjoint.sum_by_kind[self.grid[0], kinds](
                upstream, self.tables.kinds, sums, self.count, side, BLOCK=BLOCK
            )
            where = (self.count, kinds, height, width, pad, self.geometry.patch_radius)
            blocks = triton.cdiv(out[0].numel(), BLOCK)
            triton_adjoint.outside_adjoint[(blocks, batch)](
                sums, self.numbering, self.tables.extents, out, *where, BLOCK=BLOCK
            )
        return out


def _pair_table(geometry: Geometry) -> Tensor:
    """One row for each pair of shifts, see `triton_kernel`."""
    shifts = range(-geometry.radius, geometry.radius + 1)
    side = geometry.search_size
    rows = []
    for dy, dx in ((dy, dx) for dy in shifts for dx in shifts if (dy, dx) > (0, 0)):
        (top, bottom), (left, right) = geometry.extent(dy), geometry.extent(dx)
        # The patch around p - δ covers the same pairs of pixels as the patch around p + δ, mirrored.
        minus_top, minus_left = geometry.extent(-dy)[0] - dy, geometry.extent(-dx)[0] - dx
        plus, minus = ((s * dy + geometry.radius) * side + s * dx + geometry.radius for s in (1, -1))
        size = (bottom - top + 1, right - left + 1)
        rows.append((dy, dx, *size, top, left, minus_top, minus_left, plus, minus))
    return torch.tensor(rows).reshape(-1, 10)
