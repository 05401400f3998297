"""Numba kernels for the 'window' border: squares of the patch around p at the offsets outside the search window.

The offsets that fall outside depend only on how many rows and columns of the patch are cut, and on which side:
(2r + 1)² kinds of cut for all K² shifts. Sums over rectangles come from a summed-area table in double precision.
"""

from __future__ import annotations

import numpy as np

from metaf2n_arch.functional.self_similarity.cpu_kernel import jit


@jit
def extent(shift, radius, reach):
    """First and last patch offset at which p + shift + j lies in the search window."""
    return max(-reach, -radius - shift), min(reach, radius - shift)


@jit
def energy_table(image, stride, origin, rows):
    """Summed-area table (rows + 1, stride + 1) of Σ_c I_c², from the padded row at `origin` on."""
    table = np.zeros((rows + 1, stride + 1), np.float64)
    for y in range(rows):
        running = 0.0
        for x in range(stride):
            for c in range(image.shape[0]):
                value = np.float64(image[c, origin + y * stride + x])
                running += value * value
            table[y + 1, x + 1] = table[y, x + 1] + running
    return table


@jit
def rectangle(table, top, bottom, left, right):
    """Sum over rows top..bottom-1 and columns left..right-1."""
    return table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]


@jit
def kind(shift, radius, reach):
    """First and last shift whose patches are cut as those of `shift`.

    Shift 0 stands for all shifts that cut nothing; for the others of these the range is empty.
    """
    uncut = radius - reach
    if shift == 0:
        return -uncut, uncut
    return (shift, shift) if abs(shift) > uncut else (shift, shift - 1)


@jit
def add_rest(table, stride, pad, positions, radius, reach, first, last, out):
    """Adds Σ_{j outside} Σ_c I_c[p + j]² to the distances of the pixels first..last-1."""
    side = 2 * radius + 1
    rest = np.empty(last - first, out.dtype)
    for dy in range(-radius, radius + 1):
        y_first, y_last = kind(dy, radius, reach)
        top, bottom = extent(dy, radius, reach)
        for dx in range(-radius, radius + 1):
            x_first, x_last = kind(dx, radius, reach)
            left, right = extent(dx, radius, reach)
            if y_last < y_first or x_last < x_first or (bottom - top == 2 * reach and right - left == 2 * reach):
                continue
            for m in range(last - first):
                y, x = positions[first + m] // stride + pad, positions[first + m] % stride + pad
                whole = rectangle(table, y - reach, y + reach + 1, x - reach, x + reach + 1)
                rest[m] = whole - rectangle(table, y + top, y + bottom + 1, x + left, x + right + 1)
            for sy in range(y_first, y_last + 1):
                for sx in range(x_first, x_last + 1):
                    row = out[(sy + radius) * side + sx + radius, first:last]
                    for m in range(last - first):
                        row[m] += rest[m]


@jit
def add_corners(corners, top, bottom, left, right, value):
    """Marks a rectangle so that the running sums of `corners` over both axes are `value` inside it."""
    corners[top, left] += value
    corners[bottom, right] += value
    corners[top, right] -= value
    corners[bottom, left] -= value


@jit
def rest_adjoint(image, stride, pad, positions, origin, rows, radius, reach, upstream, gradient):
    """Adds half the image gradient of Σ upstream · rest to `gradient`, (C, l) from padded row y0 on."""
    height, side = rows + 2 * pad, 2 * radius + 1
    corners = np.zeros((height + 1, stride + 1), np.float64)
    total = np.empty(positions.shape[0], np.float64)
    for dy in range(-radius, radius + 1):
        y_first, y_last = kind(dy, radius, reach)
        top, bottom = extent(dy, radius, reach)
        for dx in range(-radius, radius + 1):
            x_first, x_last = kind(dx, radius, reach)
            left, right = extent(dx, radius, reach)
            if y_last < y_first or x_last < x_first or (bottom - top == 2 * reach and right - left == 2 * reach):
                continue
            total[:] = 0
            for sy in range(y_first, y_last + 1):
                for sx in range(x_first, x_last + 1):
                    row = upstream[(sy + radius) * side + sx + radius]
                    for m in range(total.shape[0]):
                        total[m] += row[m]
            for m in range(total.shape[0]):
                y, x = positions[m] // stride + pad, positions[m] % stride + pad
                add_corners(corners, y - reach, y + reach + 1, x - reach, x + reach + 1, total[m])
                add_corners(corners, y + top, y + bottom + 1, x + left, x + right + 1, -total[m])
    for y in range(height):
        running = 0.0
        for x in range(stride):
            running += corners[y, x]
            corners[y, x] = running + (corners[y - 1, x] if y > 0 else 0.0)
            for c in range(image.shape[0]):
                gradient[c, y * stride + x] += image[c, origin + y * stride + x] * corners[y, x]
