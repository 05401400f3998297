"""Triton kernels of the GPU path's backward, and of the terms that the 'window' border adds; see `triton_kernel.py`."""

from __future__ import annotations

import triton
import triton.language as tl

from metaf2n_arch.functional.self_similarity.triton_kernel import pixel


@triton.jit
def value_at(values, numbering, b, y, x, height, width, valid):
    """values[number of the masked pixel (b, y, x)]; 0 if the pixel is not masked or outside the image."""
    inside = valid & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    m = tl.load(numbering + (b * height + y) * width + x, inside, -1)
    return tl.load(values + m, inside & (m >= 0), 0.0)


@triton.jit
def row_sums(upstream, numbering, table, scratch, count, height, width, pad, pairs, BLOCK: tl.constexpr):
    """scratch[b, pair, Y, X] = Σ_{i < box width} t(Y, X - i), t being `upstream` placed where the boxes start."""
    pair, b = tl.program_id(1) % pairs, tl.program_id(1) // pairs
    row = table + pair * 10
    columns = tl.load(row + 3)
    full_height, full_width = height + 2 * pad, width + 2 * pad
    flat = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = flat < full_height * full_width
    y, x = flat // full_width - pad, flat % full_width - pad
    plus = upstream + tl.load(row + 8).to(tl.int64) * count
    minus = upstream + tl.load(row + 9).to(tl.int64) * count
    y_plus, x_plus = y - tl.load(row + 4), x - tl.load(row + 5)
    y_minus, x_minus = y - tl.load(row + 6), x - tl.load(row + 7)
    total = tl.zeros((BLOCK,), upstream.dtype.element_ty)
    for i in range(columns):
        total += value_at(plus, numbering, b, y_plus, x_plus - i, height, width, valid)
        total += value_at(minus, numbering, b, y_minus, x_minus - i, height, width, valid)
    tl.store(scratch + tl.program_id(1).to(tl.int64) * full_height * full_width + flat, total, valid)


@triton.jit
def box_above(plane, y, x, rows, width, valid):
    """Σ_{a < rows} plane[y - a, x]."""
    total = tl.zeros(x.shape, plane.dtype.element_ty)
    for a in range(rows):
        total += tl.load(plane + (y - a) * width + x, valid & (y >= a), 0.0)
    return total


@triton.jit
def gather_gradient(
    image, scratch, table, gradient, channels, height, width, pairs, BLOCK: tl.constexpr, CHANNELS: tl.constexpr
):
    """gradient[x] += Σ_pairs v(x) (I[x] - I[x + δ]) + v(x - δ) (I[x] - I[x - δ]), with v = box(t)."""
    b = tl.program_id(1)
    flat = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    size = height * width
    valid = flat < size
    y, x = flat // width, flat % width
    c = tl.arange(0, CHANNELS)[:, None]
    planes = image + (b.to(tl.int64) * channels + c) * size
    wanted = valid[None, :] & (c < channels)
    own = tl.load(planes + flat[None, :], wanted, 0.0)
    out = gradient + (b.to(tl.int64) * channels + c) * size + flat[None, :]
    total = tl.load(out, wanted, 0.0)
    for pair in range(pairs):
        row = table + pair * 10
        dy, dx, rows = tl.load(row), tl.load(row + 1), tl.load(row + 2)
        plane = scratch + (b.to(tl.int64) * pairs + pair) * size
        offset = dy * width + dx
        ahead = valid & (y + dy < height) & (x + dx >= 0) & (x + dx < width)
        v = box_above(plane, y, x, rows, width, ahead)
        total += v[None, :] * (own - tl.load(planes + flat[None, :] + offset, ahead[None, :] & wanted, 0.0))
        behind = valid & (y >= dy) & (x - dx >= 0) & (x - dx < width)
        v = box_above(plane, y - dy, x - dx, rows, width, behind)
        total += v[None, :] * (own - tl.load(planes + flat[None, :] - offset, behind[None, :] & wanted, 0.0))
    tl.store(out, total, wanted)


@triton.jit
def outside_energy(energy, pixels, cuts, rest, count, height, width, pad, reach, BLOCK: tl.constexpr):
    """rest[kind, m] = Σ energy[p + j] over the offsets j that lie outside the search window for this kind of cut."""
    kind = tl.program_id(1)
    top, bottom = tl.load(cuts + 4 * kind), tl.load(cuts + 4 * kind + 1)
    left, right = tl.load(cuts + 4 * kind + 2), tl.load(cuts + 4 * kind + 3)
    m = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = m < count
    b, y, x = pixel(pixels, m, valid)
    at = energy + b.to(tl.int64) * height * width + (y + pad) * width + x + pad
    total = tl.zeros((BLOCK,), energy.dtype.element_ty)
    for j in range((2 * reach + 1) * (2 * reach + 1)):
        offset = tl.full((BLOCK,), j, tl.int32)
        jy, jx = offset // (2 * reach + 1) - reach, offset % (2 * reach + 1) - reach
        outside = (jy < top) | (jy > bottom) | (jx < left) | (jx > right)
        total += tl.load(at + jy * width + jx, valid & outside, 0.0)
    tl.store(rest + kind.to(tl.int64) * count + m, total, valid)


@triton.jit
def sum_by_kind(upstream, kinds, sums, count, side, BLOCK: tl.constexpr):
    """sums[kind, m] = Σ upstream[q, m] over the shifts q that are cut this way."""
    kind = tl.program_id(1)
    m = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = m < count
    total = tl.zeros((BLOCK,), upstream.dtype.element_ty)
    for q in range(side * side):
        chosen = tl.load(kinds + tl.full((BLOCK,), q, tl.int32)) == kind
        total += tl.load(upstream + tl.cast(q, tl.int64) * count + m, valid & chosen, 0.0)
    tl.store(sums + kind.to(tl.int64) * count + m, total, valid)


@triton.jit
def outside_adjoint(sums, numbering, cuts, out, count, total_kinds, height, width, pad, reach, BLOCK: tl.constexpr):
    """out[b, Y, X] = Σ_kinds Σ_j sums[kind, pixel at (Y, X) - j], j outside: the gradient of the energy."""
    b = tl.program_id(1)
    full_height, full_width = height + 2 * pad, width + 2 * pad
    flat = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = flat < full_height * full_width
    y, x = flat // full_width - pad, flat % full_width - pad
    total = tl.zeros((BLOCK,), sums.dtype.element_ty)
    for kind in range(total_kinds):
        top, bottom = tl.load(cuts + 4 * kind), tl.load(cuts + 4 * kind + 1)
        left, right = tl.load(cuts + 4 * kind + 2), tl.load(cuts + 4 * kind + 3)
        values = sums + tl.cast(kind, tl.int64) * count
        for j in range((2 * reach + 1) * (2 * reach + 1)):
            offset = tl.full((BLOCK,), j, tl.int32)
            jy, jx = offset // (2 * reach + 1) - reach, offset % (2 * reach + 1) - reach
            outside = (jy < top) | (jy > bottom) | (jx < left) | (jx > right)
            total += value_at(values, numbering, b, y - jy, x - jx, height, width, valid & outside)
    tl.store(out + b.to(tl.int64) * full_height * full_width + flat, total, valid)
