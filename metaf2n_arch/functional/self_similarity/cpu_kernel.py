"""Numba kernels of the CPU path: box sums of one shift after another, and their adjoint.

Imported only when the CPU path runs, because importing numba costs a second. Every function is single-threaded and
releases the interpreter lock; `cpu_work.py` runs them in several threads. README.md derives them.

Conventions. `image` is (C, L): each reflect-padded channel flattened, rows `stride` numbers apart. A neighbour one row
down is then `stride` further on, and every loop is one long vector loop over whole rows; what it computes in the margin
between two rows is never read. A *pair* is a shift δ = (dy, dx) of the half plane (dy > 0, or dy = 0 and dx > 0) and
stands for -δ too. Graphs are (K², M), the pixels of one shift side by side. `positions` are the M masked pixels of a
band of rows, (y - y0) · stride + x. `origin` is the flat index of padded row y0, `rows` the height of the band.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

# Not a bare 1, for which numba would compile `box_sums` a second time.
ADJACENT = np.int64(1)


def jit(function: Callable[..., Any]) -> Any:
    """Compiles `function`, and caches the result on disk where numba finds a folder that it may write to."""
    options: dict[str, Any] = {'nogil': True, 'fastmath': {'contract'}, 'error_model': 'numpy'}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return njit(**options)(function)


@jit
def boxes(dy, dx, radius, reach, window):
    """Height and width of a pair's box; first row of the boxes of δ and -δ relative to their pixel; first columns."""
    height = width = 2 * reach + 1
    if window:
        height = reach + min(reach, radius - dy) + 1
        width = reach + min(reach, radius - abs(dx)) + 1
    top_plus, top_minus = -reach, -dy + reach + 1 - height
    if dx >= 0:
        return height, width, top_plus, top_minus, -reach, -dx + reach + 1 - width
    return height, width, top_plus, top_minus, reach + 1 - width, -dx - reach


@jit
def squared_differences(image, start, offset, out):
    """out[i] = Σ_c (I_c[start + i] - I_c[start + offset + i])²."""
    n = out.shape[0]
    a0, b0 = image[0, start : start + n], image[0, start + offset : start + offset + n]
    if image.shape[0] == 3:
        a1, b1 = image[1, start : start + n], image[1, start + offset : start + offset + n]
        a2, b2 = image[2, start : start + n], image[2, start + offset : start + offset + n]
        for i in range(n):
            d0, d1, d2 = a0[i] - b0[i], a1[i] - b1[i], a2[i] - b2[i]
            out[i] = d0 * d0 + d1 * d1 + d2 * d2
        return
    for i in range(n):
        d0 = a0[i] - b0[i]
        out[i] = d0 * d0
    for c in range(1, image.shape[0]):
        a0, b0 = image[c, start : start + n], image[c, start + offset : start + offset + n]
        for i in range(n):
            d0 = a0[i] - b0[i]
            out[i] += d0 * d0


@jit
def add_two(one, two, out):
    for i in range(out.shape[0]):
        out[i] = one[i] + two[i]


@jit
def add_three(one, two, three, out):
    for i in range(out.shape[0]):
        out[i] = one[i] + two[i] + three[i]


@jit
def add_to(values, out):
    for i in range(out.shape[0]):
        out[i] += values[i]


@jit
def box_sums(values, spare, out, n, size, step):
    """out[i] = Σ_{b < size} values[i + b · step] for i < n; overwrites `values` and `spare`.

    A tree of sums. Nothing is subtracted, so no rounding error stays in the sum when a strong edge leaves the window.
    """
    if 4 <= size <= 9 and size != 8:
        # Two passes: groups of two or three neighbours, then groups of groups and what is left over.
        group = 3 if size >= 6 else 2
        m = n + (size - group) * step
        if group == 3:
            add_three(values[:m], values[step : step + m], values[2 * step : 2 * step + m], spare[:m])
        else:
            add_two(values[:m], values[step : step + m], spare[:m])
        second, rest = spare[group * step : group * step + n], size - 2 * group
        if rest == 0:
            add_two(spare[:n], second, out[:n])
        elif rest == 1:
            add_three(spare[:n], second, values[(size - 1) * step : (size - 1) * step + n], out[:n])
        else:
            add_three(spare[:n], second, spare[2 * group * step : 2 * group * step + n], out[:n])
        return
    done, width, length = 0, 1, n + (size - 1) * step
    while True:
        if size & width:
            part = values[done * step : done * step + n]
            if done:
                add_to(part, out[:n])
            else:
                out[:n] = part
            done += width
        if 2 * width > size:
            return
        length -= width * step
        add_two(values[:length], values[width * step : width * step + length], spare[:length])
        values, spare = spare, values
        width *= 2


@jit
def distances(image, stride, pad, positions, origin, rows, pairs, first, last, radius, reach, window, scratch, out):
    """Writes Σ_c Σ_j (I_c[p + j] - I_c[q + j])² of the pairs first..last-1 at the masked pixels into `out`, (K², M).

    With the `window` border only the offsets j inside the search window are summed. `scratch` is (3, L).
    """
    side = 2 * radius + 1
    one, two, three = scratch[0], scratch[1], scratch[2]
    for pair in range(first, last):
        dy, dx = pairs[pair, 0], pairs[pair, 1]
        height, width, top_plus, top_minus, left_plus, left_minus = boxes(dy, dx, radius, reach, window)
        apart = top_plus - top_minus
        n = (rows + apart) * stride
        start = origin + (pad + top_minus) * stride
        # Sums along columns first, of as many more columns as the sums along rows need.
        down = n + width - 1
        squared_differences(image, start, dy * stride + dx, one[: down + (height - 1) * stride])
        box_sums(one, two, three, down, height, stride)
        box_sums(three, one, two, n, width, ADJACENT)
        gather(two[apart * stride + pad + left_plus :], positions, out[(dy + radius) * side + dx + radius])
        gather(two[pad + left_minus :], positions, out[(radius - dy) * side + radius - dx])


@jit
def gather(source, positions, out):
    for m in range(positions.shape[0]):
        out[m] = source[positions[m]]


@jit
def distances_adjoint(
    image, stride, pad, positions, origin, rows, pairs, first, last, radius, reach, window, scratch,
    upstream, ahead, behind,
):  # fmt: skip
    """Adds the image gradient of Σ_{q,m} upstream[q, m] · distances[q, m] / 2 of the pairs first..last-1.

    For a pair, t holds upstream at the corners of the boxes of δ and of -δ; v = box(t), so that
    dL/dI[x] = Σ v[x] (I[x] - I[x + δ]) goes into `ahead`, dL/dI[x + δ] = -Σ v[x] (I[x] - I[x + δ]) into `behind`.
    Both are (C, l), from padded row y0 on. There are two buffers, because a loop that writes one buffer at two places
    is not vectorised.
    """
    side = 2 * radius + 1
    one, two, three = scratch[0], scratch[1], scratch[2]
    for pair in range(first, last):
        dy, dx = pairs[pair, 0], pairs[pair, 1]
        height, width, top_plus, top_minus, left_plus, left_minus = boxes(dy, dx, radius, reach, window)
        apart = top_plus - top_minus
        lead = (height - 1) * stride + width - 1
        n = (rows + apart + height - 1) * stride
        one[: n + lead] = 0
        scatter(upstream[(dy + radius) * side + dx + radius], positions, one[lead + apart * stride + pad + left_plus :])
        scatter(upstream[(radius - dy) * side + radius - dx], positions, one[lead + pad + left_minus :])
        box_sums(one, two, three, n + width - 1, height, stride)
        box_sums(three, one, two, n, width, ADJACENT)
        local, offset = (pad + top_minus) * stride, dy * stride + dx
        start = origin + local
        v = two[:n]
        for c in range(image.shape[0]):
            here, there = image[c, start : start + n], image[c, start + offset : start + offset + n]
            plus, minus = ahead[c, local : local + n], behind[c, local + offset : local + offset + n]
            for i in range(n):
                r = v[i] * (here[i] - there[i])
                plus[i] += r
                minus[i] -= r


@jit
def scatter(values, positions, out):
    for m in range(positions.shape[0]):
        out[positions[m]] += values[m]
