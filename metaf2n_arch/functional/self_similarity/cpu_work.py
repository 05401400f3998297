"""Numba kernels that several threads run: each call takes items from a common counter (`ticket`) until none are left.

How the work is split into items does not depend on the number of threads, and each item writes to its own place. So the
result has the same bits for any number of threads. A core that other programs keep busy takes fewer items. A thread
enters the interpreter once per phase, so that it seldom waits for the interpreter lock.
"""

from __future__ import annotations

import numpy as np
from numba import types

from metaf2n_arch.functional.self_similarity.cpu_compare import (
    difference,
    graph_upstream,
    primitive,
    similarities,
    upstream,
)
from metaf2n_arch.functional.self_similarity.cpu_kernel import distances, distances_adjoint, jit
from metaf2n_arch.functional.self_similarity.cpu_window import add_rest, rest_adjoint


@primitive
def fetch_and_add(typing, counter):
    """Returns counter[0] and increments it, atomically."""

    def build(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, value=arguments[0])
        one = context.get_constant(types.int64, 1)
        return builder.atomic_rmw('add', array.data, one, 'monotonic')

    return types.int64(types.Array(types.int64, 1, 'C')), build


@jit
def aligned(rows, columns, like):
    """An empty (rows, columns) array whose first number starts a cache line."""
    numbers = 64 // like.itemsize
    columns = -(-columns // numbers) * numbers
    flat = np.empty(rows * columns + numbers, like.dtype)
    first = (-flat.ctypes.data // like.itemsize) % numbers
    return flat[first : first + rows * columns].reshape(rows, columns)


@jit
def measure_items(ticket, images, place, positions, pairs, groups, shape, graphs):
    """Fills the graphs (N, K², M) of N images (N, C, L) with distances; an item is a group of shifts of one image."""
    stride, pad, origin, rows = place
    radius, reach, window = shape
    scratch = aligned(3, (rows + radius + 4 * reach + 3) * stride, images)
    while True:
        item = fetch_and_add(ticket)
        if item >= groups * images.shape[0]:
            return
        which, group = item // groups, item % groups
        first, last = group * len(pairs) // groups, (group + 1) * len(pairs) // groups
        graph = graphs[which]
        if group == 0:
            graph[graph.shape[0] // 2] = 0
        distances(
            images[which], stride, pad, positions, origin, rows, pairs, first, last, radius, reach, window, scratch,
            graph,
        )  # fmt: skip


@jit
def graph_items(ticket, place, positions, chunk, shape, tables, scale, normalize, graphs):
    """Turns the distances of N graphs into S or S̄, in place; an item is a chunk of pixels."""
    stride, pad, _, _ = place
    radius, reach, window = shape
    count = len(positions)
    while True:
        first = fetch_and_add(ticket) * chunk
        if first >= count:
            return
        last = min(first + chunk, count)
        for which in range(graphs.shape[0]):
            if window:
                add_rest(tables[which], stride, pad, positions, radius, reach, first, last, graphs[which])
            similarities(graphs[which], first, last, scale, normalize)


@jit
def compare_items(
    ticket, place, positions, chunk, shape, tables, scale, weights, factor, wanted, graphs, target_out, sums
):
    """Computes the difference of two images' graphs, and its derivatives, from distances; an item is a chunk of pixels.

    The derivative with respect to the distances of pred replaces these distances. The derivative with respect to those
    of target goes to `target_out`. Each is computed only if `wanted`.
    """
    stride, pad, _, _ = place
    radius, reach, window = shape
    kl, l1, least = weights
    count = len(positions)
    pred, target = graphs[0], graphs[1]
    while True:
        item = fetch_and_add(ticket)
        first = item * chunk
        if first >= count:
            return
        last = min(first + chunk, count)
        for which in range(2):
            if window:
                add_rest(tables[which], stride, pad, positions, radius, reach, first, last, graphs[which])
            similarities(graphs[which], first, last, scale, True)
        sums[item] = difference(pred, target, first, last, kl, l1, least)
        # Both derivatives read both graphs, so the derivative that replaces its graph comes last.
        if wanted[1]:
            upstream(pred, target, first, last, kl, l1, least, factor, True, target_out)
        if wanted[0]:
            upstream(pred, target, first, last, kl, l1, least, factor, False, pred)


@jit
def upstream_items(ticket, graph, gradient, chunk, factor, normalize, out):
    """Computes the gradient of the distances from that of the graph; an item is a chunk of pixels."""
    count = graph.shape[1]
    while True:
        first = fetch_and_add(ticket) * chunk
        if first >= count:
            return
        graph_upstream(graph, gradient, first, min(first + chunk, count), factor, normalize, out)


@jit
def adjoint_items(ticket, image, place, positions, pairs, groups, shape, upstream_of_distances, parts):
    """Writes the image gradient of each group of shifts to parts[group], (2, C, l), which must be zero before."""
    stride, pad, origin, rows = place
    radius, reach, window = shape
    scratch = aligned(3, (rows + radius + 8 * reach + 3) * stride, image)
    while True:
        item = fetch_and_add(ticket)
        if item >= len(parts):
            return
        ahead, behind = parts[item, 0], parts[item, 1]
        if item == groups:  # only with the 'window' border
            rest_adjoint(image, stride, pad, positions, origin, rows, radius, reach, upstream_of_distances, ahead)
            continue
        first, last = item * len(pairs) // groups, (item + 1) * len(pairs) // groups
        distances_adjoint(
            image, stride, pad, positions, origin, rows, pairs, first, last, radius, reach, window, scratch,
            upstream_of_distances, ahead, behind,
        )  # fmt: skip
