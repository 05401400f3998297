"""Triton kernels of the GPU path. Each output is a sum that one program gathers in a fixed order: no atomics.

Imported only when the GPU path runs. Conventions as in `cpu_kernel.py`: a pair is a shift δ of the half plane and
stands for -δ too; graphs are (K², M). `table` holds a row of int32 for each pair: dy, dx, height and width of its box,
where the boxes of δ and of -δ start relative to their pixel (top, left, top, left), and the rows of the graph they
belong to. Scratch holds one plane (B, pair, Hp, Wp) for each pair of a block. Conditions are always blocks, also where
a scalar would do: Triton's interpreter, which runs these kernels in tests, cannot combine the two.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def squared_difference(image, plane, channels, y, x, dy, dx, height, width, inside):
    """Σ_c (I_c[y, x] - I_c[y + dy, x + dx])² where `inside`, of an image (C, height, width) at `plane`."""
    here = image + plane + y * width + x
    there = here + dy * width + dx
    total = tl.zeros(x.shape, image.dtype.element_ty)
    for c in range(channels):
        d = tl.load(here + c * height * width, inside, 0.0) - tl.load(there + c * height * width, inside, 0.0)
        total += d * d
    return total


@triton.jit
def column_sums(image, table, scratch, channels, height, width, pairs, STRIP: tl.constexpr, BLOCK: tl.constexpr):
    """scratch[b, pair, y, x] = Σ_{a < box height} D(y + a, x), D the squared difference of the pair's shift.

    A program keeps running sums down a strip of rows. The strip is so short that the rounding errors of the
    subtractions do not matter.
    """
    pair, b = tl.program_id(1) % pairs, tl.program_id(1) // pairs
    row = table + pair * 10
    dy, dx, rows = tl.load(row), tl.load(row + 1), tl.load(row + 2)
    blocks = tl.cdiv(width, BLOCK)
    x = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    y = tl.full((BLOCK,), (tl.program_id(0) // blocks) * STRIP, tl.int32)
    plane = b.to(tl.int64) * channels * height * width
    out = scratch + tl.program_id(1).to(tl.int64) * height * width
    columns = (x < width) & (x + dx >= 0) & (x + dx < width)
    total = tl.zeros((BLOCK,), image.dtype.element_ty)
    for a in range(rows):
        inside = columns & (y + a + dy < height)
        total += squared_difference(image, plane, channels, y + a, x, dy, dx, height, width, inside)
    for i in range(STRIP):
        tl.store(out + (y + i) * width + x, total, (x < width) & (y + i < height))
        inside = columns & (y + i + dy < height)
        total -= squared_difference(image, plane, channels, y + i, x, dy, dx, height, width, inside)
        inside = columns & (y + i + rows + dy < height)
        total += squared_difference(image, plane, channels, y + i + rows, x, dy, dx, height, width, inside)


@triton.jit
def pixel(pixels, m, valid):
    """Image, row and column of the masked pixels m."""
    at = pixels + 3 * m
    return tl.load(at, valid, 0), tl.load(at + 1, valid, 0), tl.load(at + 2, valid, 0)


@triton.jit
def distances(
    scratch, table, pixels, kinds, rest, graph, count, height, width, pad, pairs,
    WINDOW: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """graph[q, m] = the box sums of the pair's two shifts at the masked pixels, from sums down the columns.

    With the 'window' border the squares outside the window, rest[kind of cut, m], are added.
    """
    pair, sign = tl.program_id(1) % pairs, tl.program_id(1) // pairs
    row = table + pair * 10
    columns = tl.load(row + 3)
    top, left = tl.load(row + 4 + 2 * sign), tl.load(row + 5 + 2 * sign)
    q = tl.load(row + 8 + sign).to(tl.int64)
    m = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = m < count
    b, y, x = pixel(pixels, m, valid)
    plane = (b.to(tl.int64) * pairs + pair) * height * width
    at = scratch + plane + (y + pad + top) * width + x + pad + left
    total = tl.zeros((BLOCK,), graph.dtype.element_ty)
    for i in range(columns):
        total += tl.load(at + i, valid, 0.0)
    if WINDOW:
        kind = tl.load(kinds + tl.full((BLOCK,), q, tl.int64)).to(tl.int64)
        total += tl.load(rest + kind * count + m, valid & (kind >= 0), 0.0)
    tl.store(graph + q * count + m, total, valid)


@triton.jit
def similarities(graph, numbers, count, side, NORMALIZE: tl.constexpr, BLOCK: tl.constexpr):
    """Turns distances into S = exp(scale · distance), or S̄, in place."""
    m = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = m < count
    scale, epsilon = tl.load(numbers), tl.load(numbers + 4)
    total = tl.zeros((BLOCK,), graph.dtype.element_ty)
    for q in range(side * side):
        at = graph + tl.cast(q, tl.int64) * count + m
        s = tl.exp(scale * tl.load(at, valid, 0.0))
        total += s
        tl.store(at, s, valid)
    if NORMALIZE:
        total = 1 / (total + epsilon)
        for q in range(side * side):
            at = graph + tl.cast(q, tl.int64) * count + m
            tl.store(at, tl.load(at, valid, 0.0) * total, valid)


@triton.jit
def derivative(x, y, kl, l1, least, OF_TARGET: tl.constexpr):
    """The difference's derivative with respect to S̄_SR = x, or to S̄_HR = y."""
    sign = tl.where(x > y, l1, 0.0) - tl.where(x < y, l1, 0.0)
    above, beyond = tl.maximum(x, least), tl.maximum(y, least)
    if OF_TARGET:
        return tl.where(y >= least, kl * (tl.log(beyond) - tl.log(above) + 1), 0.0) - sign
    return sign - tl.where(x >= least, kl * beyond / above, 0.0)


@triton.jit
def compare(pred, target, numbers, sums, count, side, BLOCK: tl.constexpr):
    """sums[program] = kl · Σ y (log y - log x) + l1 · Σ |x - y| over a block of pixels."""
    m = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = m < count
    kl, l1, least = tl.load(numbers + 2), tl.load(numbers + 3), tl.load(numbers + 4)
    total = tl.zeros((BLOCK,), pred.dtype.element_ty)
    for q in range(side * side):
        at = tl.cast(q, tl.int64) * count + m
        x, y = tl.load(pred + at, valid, 0.0), tl.load(target + at, valid, 0.0)
        above, beyond = tl.maximum(x, least), tl.maximum(y, least)
        total += kl * beyond * (tl.log(beyond) - tl.log(above)) + l1 * tl.abs(x - y)
    tl.store(sums + tl.program_id(0), tl.sum(tl.where(valid, total, 0.0)))


@triton.jit
def upstream(pred, target, numbers, out, count, side, OF_TARGET: tl.constexpr, BLOCK: tl.constexpr):
    """out = 2 scale / (M K²) · S̄ (g - Σ_q g S̄), the derivative of the mean with respect to the distances.

    `out` may be the graph itself.
    """
    m = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = m < count
    entries = tl.full((BLOCK,), count, pred.dtype.element_ty) * (side * side)
    factor, kl = tl.load(numbers + 1) / entries, tl.load(numbers + 2)
    l1, least = tl.load(numbers + 3), tl.load(numbers + 4)
    mean = tl.zeros((BLOCK,), pred.dtype.element_ty)
    for q in range(side * side):
        at = tl.cast(q, tl.int64) * count + m
        x, y = tl.load(pred + at, valid, 0.0), tl.load(target + at, valid, 0.0)
        s = y if OF_TARGET else x
        mean += derivative(x, y, kl, l1, least, OF_TARGET) * s
    for q in range(side * side):
        at = tl.cast(q, tl.int64) * count + m
        x, y = tl.load(pred + at, valid, 0.0), tl.load(target + at, valid, 0.0)
        s = y if OF_TARGET else x
        tl.store(out + at, factor * s * (derivative(x, y, kl, l1, least, OF_TARGET) - mean), valid)


@triton.jit
def graph_upstream(graph, gradient, numbers, out, count, side, NORMALIZE: tl.constexpr, BLOCK: tl.constexpr):
    """out = 2 scale · S̄ (g - Σ_q g S̄), or 2 scale · S · g if not `NORMALIZE`, for any gradient g of the graph."""
    m = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = m < count
    factor = tl.load(numbers + 1)
    mean = tl.zeros((BLOCK,), graph.dtype.element_ty)
    if NORMALIZE:
        for q in range(side * side):
            at = tl.cast(q, tl.int64) * count + m
            mean += tl.load(graph + at, valid, 0.0) * tl.load(gradient + at, valid, 0.0)
    for q in range(side * side):
        at = tl.cast(q, tl.int64) * count + m
        s, g = tl.load(graph + at, valid, 0.0), tl.load(gradient + at, valid, 0.0)
        tl.store(out + at, factor * s * (g - mean), valid)
