"""Driver of the numba kernels: one image at a time, one band of rows at a time, each phase in several threads.

A band's graphs are the only large buffers, and its gradient is finished before the next band begins. The small steps in
between use NumPy, not torch: torch would run some of them in several threads, which stall when the cores are busy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch

from metaf2n_arch.functional.self_similarity.criterion import CriterionWeights
from metaf2n_arch.functional.self_similarity.geometry import EPSILON, Geometry

# Most pixels of a band of rows: few, so that its graphs and images stay in the processor's cache.
BAND_PIXELS = 12288
# Masked pixels in one item of work, and the number of groups of shifts, one item each; see `cpu_work`.
CHUNK = 256
GROUPS = 8
# Numbers in a vector register: rows start on a multiple of it.
VECTOR = 16

Run = Callable[..., None]


@contextmanager
def threads() -> Iterator[Run]:
    """Yields ``run(work, *arguments)``: it calls ``work(ticket, *arguments)`` in as many threads as torch would use."""
    count = min(torch.get_num_threads(), 2 * GROUPS)
    with ThreadPoolExecutor(max(count - 1, 1)) as pool:

        def run(work: Callable[..., None], *arguments: Any) -> None:
            ticket = np.zeros(1, np.int64)
            helpers = [pool.submit(work, ticket, *arguments) for _ in range(count - 1)]
            work(ticket, *arguments)
            for helper in helpers:
                helper.result()

        yield run


class Stream:
    """N images of one size with one mask, flattened for the kernels, and the computations on them, band by band."""

    def __init__(self, run: Run, images: list[np.ndarray], mask: np.ndarray, geometry: Geometry, h: float) -> None:
        """Takes N (C, H, W) images and an (H, W) mask."""
        self.run = run
        self.geometry = geometry
        channels, height, width = images[0].shape
        self.height, self.width = height + 2 * geometry.pad, width + 2 * geometry.pad
        self.stride = -(-self.width // VECTOR) * VECTOR
        # Loops run over whole rows, and behind the last row as far as a shift and a patch reach to the side.
        self.margin = geometry.search_size + geometry.patch_size + VECTOR
        self.images = np.zeros((len(images), channels, self.height * self.stride + self.margin), images[0].dtype)
        pad = [(0, 0), (geometry.pad, geometry.pad), (geometry.pad, geometry.pad)]
        for padded, image in zip(self.images, images):
            self._rows(padded)[:, :, : self.width] = np.pad(image, pad, mode='reflect')
        self.gradients = [np.zeros_like(x) for x in self.images]
        self.number = self.images.dtype.type
        self.scale = -1 / (h * channels * geometry.patch_size**2)
        self.shape = (geometry.radius, geometry.patch_radius, geometry.border == 'window')
        self.pairs = _pairs(geometry)
        self.bands = list(_bands(mask, self.stride))

    def graph(self, band: Band, normalize: bool) -> np.ndarray:
        """S or S̄ of the first image: (K², M)."""
        graphs = self._distances(band)
        options = (self._tables(band), self.number(self.scale), normalize)
        self.run(_work().graph_items, self._place(band), band.positions, CHUNK, self.shape, *options, graphs)
        return graphs[0]

    def back(self, band: Band, graph: np.ndarray, upstream: np.ndarray, normalize: bool) -> None:
        """Adds the first image's gradient, from its `graph` and the gradient `upstream` of it, both (K², M)."""
        out = np.empty_like(graph)
        self.run(_work().upstream_items, graph, upstream, CHUNK, self.number(2 * self.scale), normalize, out)
        self._adjoint(band, 0, out)

    def difference(self, band: Band, weights: CriterionWeights, factor: float, wanted: tuple[bool, bool]) -> float:
        """Returns the sum of differences of both images' graphs; adds `factor` times its gradients where `wanted`."""
        graphs = self._distances(band)
        target_out = np.empty_like(graphs[1]) if wanted[1] else graphs[1]
        sums = np.zeros(-(-len(band.positions) // CHUNK))
        numbers = tuple(self.number(x) for x in (weights.kl, weights.l1, EPSILON))
        options = (self._tables(band), self.number(self.scale), numbers, self.number(2 * self.scale * factor), wanted)
        place = self._place(band)
        self.run(_work().compare_items, place, band.positions, CHUNK, self.shape, *options, graphs, target_out, sums)
        for which, out in enumerate((graphs[0], target_out)):
            if wanted[which]:
                self._adjoint(band, which, out)
        return float(sums.sum())

    def gradient(self, which: int) -> np.ndarray:
        """Gradient of an image, (C, H, W): that of the padded image, with the padding added to the pixels it copies."""
        folded = self._rows(self.gradients[which])[:, :, : self.width]
        for axis in (2, 1):
            folded = _fold(np.moveaxis(folded, axis, 0), self.geometry.pad)
            folded = np.moveaxis(folded, 0, axis)
        return folded

    def _rows(self, flat: np.ndarray) -> np.ndarray:
        return flat[:, : self.height * self.stride].reshape(-1, self.height, self.stride)

    def _place(self, band: Band) -> tuple[int, int, int, int]:
        return self.stride, self.geometry.pad, band.y0 * self.stride, band.rows

    def _distances(self, band: Band) -> np.ndarray:
        graphs = np.empty((len(self.images), self.geometry.search_size**2, len(band.positions)), self.images.dtype)
        where = (self._place(band), band.positions, self.pairs, GROUPS, self.shape)
        self.run(_work().measure_items, self.images, *where, graphs)
        return graphs

    def _tables(self, band: Band) -> np.ndarray:
        """Summed-area tables of the squared images, which only the 'window' border reads."""
        from metaf2n_arch.functional.self_similarity.cpu_window import energy_table

        if self.geometry.border == 'image':
            return np.empty((0, 0, 0))
        rows = band.rows + 2 * self.geometry.pad
        return np.stack([energy_table(x, self.stride, band.y0 * self.stride, rows) for x in self.images])

    def _adjoint(self, band: Band, which: int, upstream: np.ndarray) -> None:
        """Adds the band's share to the gradient of a padded image."""
        length = (band.rows + 2 * self.geometry.pad) * self.stride
        channels = self.images.shape[1]
        parts = np.zeros((GROUPS + self.shape[2], 2, channels, length + self.margin), self.images.dtype)
        where = (self._place(band), band.positions, self.pairs, GROUPS, self.shape)
        self.run(_work().adjoint_items, self.images[which], *where, upstream, parts)
        start = band.y0 * self.stride
        for part in parts.reshape(-1, *parts.shape[2:]):
            self.gradients[which][:, start : start + length] += part[:, :length]


@dataclass(frozen=True)
class Band:
    """Rows y0 .. y0 + rows - 1 of an image, the masked pixels in them, and the number of the first masked pixel."""

    y0: int
    rows: int
    first: int
    positions: np.ndarray

    @property
    def pixels(self) -> slice:
        return slice(self.first, self.first + len(self.positions))


def _bands(mask: np.ndarray, stride: int) -> Iterator[Band]:
    """Cuts an image into bands of equal height, and removes rows without masked pixels from the ends of each band."""
    y, x = mask.nonzero()
    height, width = mask.shape
    pieces = -(-height // max(1, BAND_PIXELS // width))
    for i in range(pieces):
        first, last = np.searchsorted(y, [i * height // pieces, (i + 1) * height // pieces])
        if first < last:
            y0, y1 = int(y[first]), int(y[last - 1]) + 1
            positions = ((y[first:last] - y0) * stride + x[first:last]).astype(np.uint32)
            yield Band(y0, y1 - y0, int(first), positions)


def _pairs(geometry: Geometry) -> np.ndarray:
    """One shift (dy, dx) of each pair δ, -δ."""
    reach = range(-geometry.radius, geometry.radius + 1)
    return np.array([(dy, dx) for dy in reach for dx in reach if (dy, dx) > (0, 0)], np.int64).reshape(-1, 2)


def _fold(gradient: np.ndarray, pad: int) -> np.ndarray:
    """The adjoint of reflect-padding the first axis."""
    size = len(gradient) - 2 * pad
    inner = gradient[pad : pad + size].copy()
    inner[1 : pad + 1] += gradient[:pad][::-1]
    inner[size - pad - 1 : size - 1] += gradient[pad + size :][::-1]
    return inner


def _work() -> ModuleType:
    """The compiled kernels, imported when they are needed, because importing numba costs a second."""
    from metaf2n_arch.functional.self_similarity import cpu_work

    return cpu_work
