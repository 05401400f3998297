"""Numba kernels between the two box filters of the CPU path: exponential, normalisation, loss and their derivatives.

Graphs are (K², M); every function works on the pixels first..last-1, whose columns stay in cache over its passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic, overload

from metaf2n_arch.functional.self_similarity.cpu_kernel import jit

EPSILON = 1e-10


def primitive(build: Callable[..., Any]) -> Any:
    """Makes a function that only compiled code can call; `build` writes its instructions."""
    return intrinsic(build)


@primitive
def bits_of(typing, value):
    """The bit pattern of a float32, as an int32."""

    def build(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(types.int32))

    return types.int32(types.float32), build


@primitive
def float_of(typing, value):
    """The float32 of a bit pattern."""

    def build(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(types.float32))

    return types.float32(types.int32), build


def exponential(x):
    """exp(x) for x ≤ 0; in float32 a polynomial, because a call into the C library is not vectorised."""
    raise NotImplementedError('compiled code only')


def logarithm(x):
    """log(x) for normal x > 0; in float32 a polynomial."""
    raise NotImplementedError('compiled code only')


F = np.float32
LOG2_E, MAGIC = F(1.44269504088896341), F(12582912.0)
# log 2 in two parts, the first of which has trailing zeros: n · LOG2_HIGH is exact.
LOG2_HIGH, LOG2_LOW = F(0.693359375), F(-2.12194440e-4)
E2, E3, E4, E5, E6, E7 = (
    F(0.5),
    F(1.6666665459e-1),
    F(4.1665795894e-2),
    F(8.3334519073e-3),
    F(1.3981999507e-3),
    F(1.9875691500e-4),
)
ONE, ZERO, HALF, SMALLEST = F(1), F(0), F(0.5), F(-87.3)
SQRT_HALF = F(0.707106781186547524)
L3, L4, L5 = F(3.3333331174e-1), F(-2.4999993993e-1), F(2.0000714765e-1)
L6, L7, L8 = F(-1.6668057665e-1), F(1.4249322787e-1), F(-1.2420140846e-1)
L9, L10, L11 = F(1.1676998740e-1), F(-1.1514610310e-1), F(7.0376836292e-2)
SHIFT, MANTISSA, BIAS = np.int32(23), np.int32(0x007FFFFF), np.int32(126)
HALF_BITS = np.int32(0x3F000000)


@overload(exponential)
def _exponential(x):
    if x != types.float32:
        return lambda x: math.exp(x)

    def single(x):
        # Adding 1.5·2²³ rounds x / log 2 to an integer and leaves that integer in the low bits.
        shifted = x * LOG2_E + MAGIC
        n = shifted - MAGIC
        r = x - n * LOG2_HIGH - n * LOG2_LOW
        p = ((((E7 * r + E6) * r + E5) * r + E4) * r + E3) * r + E2
        p = p * (r * r) + r + ONE
        y = float_of(np.int32(bits_of(p) + (bits_of(shifted) << SHIFT)))
        return ZERO if x < SMALLEST else y

    return single


@overload(logarithm)
def _logarithm(x):
    if x != types.float32:
        return lambda x: math.log(x)

    def single(x):
        bits = bits_of(x)
        e = F((bits >> SHIFT) - BIAS)
        m = float_of(np.int32((bits & MANTISSA) | HALF_BITS))
        small = m < SQRT_HALF
        e = e - ONE if small else e
        f = m + m - ONE if small else m - ONE
        z = f * f
        p = (((L11 * f + L10) * f + L9) * f + L8) * f + L7
        p = (((p * f + L6) * f + L5) * f + L4) * f + L3
        return f + (p * f * z + e * LOG2_LOW - HALF * z) + e * LOG2_HIGH

    return single


@jit
def similarities(graph, first, last, scale, normalize):
    """Turns distances into S = exp(scale · distance), or S̄, in place."""
    total = np.zeros(last - first, graph.dtype)
    for q in range(graph.shape[0]):
        row = graph[q, first:last]
        for m in range(row.shape[0]):
            s = exponential(scale * row[m])
            row[m] = s
            total[m] += s
    if not normalize:
        return
    for m in range(total.shape[0]):
        total[m] = 1 / (total[m] + EPSILON)
    for q in range(graph.shape[0]):
        row = graph[q, first:last]
        for m in range(row.shape[0]):
            row[m] *= total[m]


@jit
def difference(pred, target, first, last, kl, l1, least):
    """Returns kl · Σ y (log y - log x) + l1 · Σ |S̄_SR - S̄_HR| over the given pixels; `least` is the clamp, 1e-10."""
    divergence = np.zeros(last - first, pred.dtype)
    absolute = np.zeros(last - first, pred.dtype)
    for q in range(pred.shape[0]):
        a, b = pred[q, first:last], target[q, first:last]
        if kl != 0:
            for m in range(a.shape[0]):
                x, y = max(a[m], least), max(b[m], least)
                divergence[m] += y * (logarithm(y) - logarithm(x))
        for m in range(a.shape[0]):
            absolute[m] += abs(a[m] - b[m])
    total = 0.0
    for m in range(last - first):
        total += np.float64(kl) * np.float64(divergence[m]) + np.float64(l1) * np.float64(absolute[m])
    return total


@jit
def pred_derivative(a, b, kl, l1, least, out):
    """The difference's derivative with respect to S̄_SR, for one row of both graphs."""
    for m in range(out.shape[0]):
        out[m] = l1 if a[m] > b[m] else (-l1 if a[m] < b[m] else l1 - l1)
    if kl != 0:
        for m in range(out.shape[0]):
            ratio = max(b[m], least) / max(a[m], least)
            out[m] -= kl * ratio if a[m] >= least else kl - kl


@jit
def target_derivative(a, b, kl, l1, least, out):
    """The difference's derivative with respect to S̄_HR, for one row of both graphs."""
    for m in range(out.shape[0]):
        out[m] = l1 if b[m] > a[m] else (-l1 if b[m] < a[m] else l1 - l1)
    if kl != 0:
        for m in range(out.shape[0]):
            x, y = max(a[m], least), max(b[m], least)
            d = logarithm(y) - logarithm(x) + kl / kl
            out[m] += kl * d if b[m] >= least else kl - kl


@jit
def upstream(pred, target, first, last, kl, l1, least, factor, of_target, out):
    """Writes factor · S̄ (g - Σ_q g S̄), the derivative with respect to distances, into `out`; it may be `pred`."""
    g = np.empty(last - first, pred.dtype)
    mean = np.zeros(last - first, pred.dtype)
    own = target if of_target else pred
    for write in range(2):
        for q in range(pred.shape[0]):
            a, b, s = pred[q, first:last], target[q, first:last], own[q, first:last]
            if of_target:
                target_derivative(a, b, kl, l1, least, g)
            else:
                pred_derivative(a, b, kl, l1, least, g)
            if write == 0:
                for m in range(g.shape[0]):
                    mean[m] += g[m] * s[m]
            else:
                for m in range(g.shape[0]):
                    g[m] = factor * s[m] * (g[m] - mean[m])
                # A separate loop copies g, because a loop that reads and writes the same row is not vectorised.
                row = out[q, first:last]
                for m in range(g.shape[0]):
                    row[m] = g[m]


@jit
def graph_upstream(graph, gradient, first, last, factor, normalize, out):
    """Writes factor · S̄ (g - Σ_q g S̄), or factor · S · g if not `normalize`, for any gradient g of the graph."""
    mean = np.zeros(last - first, graph.dtype)
    if normalize:
        for q in range(graph.shape[0]):
            s, g = graph[q, first:last], gradient[q, first:last]
            for m in range(s.shape[0]):
                mean[m] += g[m] * s[m]
    for q in range(graph.shape[0]):
        s, g, u = graph[q, first:last], gradient[q, first:last], out[q, first:last]
        for m in range(s.shape[0]):
            u[m] = factor * s[m] * (g[m] - mean[m])
