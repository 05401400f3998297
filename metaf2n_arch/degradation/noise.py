"""Noise, made on the CPU from a seed, so that a draw gives the same noise on every device."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from metaf2n_arch.degradation.params import NoiseParams
from metaf2n_arch.images.luminance import luminance
from metaf2n_arch.utils.rng import torch_generator

_BITS = 23
"""Probabilities of the Poisson table are counted in 2^-23, the resolution of its uniform draws."""
_BUCKETS = 256
_BITS_IN_BUCKET = _BITS - 8


def add_noise(images: Tensor, noise: NoiseParams, key: tuple[int, ...]) -> Tensor:
    """Returns noisy images, clamped to [0, 1].

    The random generator of `key` gives, in this order, one uniform number per image, which selects its strength in
    the range `noise.strength`, and the noise field. The numbers are the same for every device.

    Args:
        images: (N, 3, H, W) float32 in [0, 1].
        noise: kind, strength range, and whether the channels share one noise (Poisson: that of the luminance).
        key: seed of the noise; keys that differ in any part give independent noise.
    """
    if noise.kind == 'none':
        return images
    generator = torch_generator(*key)
    n, _, height, width = images.shape
    low, high = noise.strength
    strength = (low + (high - low) * torch.rand(n, generator=generator)).view(n, 1, 1, 1).to(images.device)
    shape = (n, 1 if noise.gray else 3, height, width)
    if noise.kind == 'poisson':
        field = poisson_residual(images, noise.gray, generator).mul_(strength)
    else:
        field = torch.randn(shape, generator=generator).to(images.device).mul_(strength / 255)
    if noise.kind == 'speckle':
        field = field * images
    return (images + field).clamp_(0, 1)


def poisson_residual(images: Tensor, gray: bool, generator: torch.Generator) -> Tensor:
    """Returns ``P/v - x`` with ``P ~ Poisson(v·x)``, x the 8-bit image: variance x/v.

    ``v`` is the number of grey levels present in each image rounded up to a power of two (256 for nearly every
    photograph), as in scikit-image and BasicSR. With `gray` x is the luminance and the result has one channel.

    P is the quantile of one uniform number per pixel, looked up in a table of all (v, level) distributions. It is not
    drawn by rejection, so that a pixel that differs by rounding never changes the noise of another pixel.
    """
    if gray:
        images = luminance(images)
    n = images.shape[0]
    levels = images.clamp(0, 1).mul_(255).round_().int()
    of_image = 256 * torch.arange(n, device=images.device).view(n, 1, 1, 1)
    seen = torch.zeros(n * 256, device=images.device).index_fill_(0, (of_image + levels).flatten(), 1.0)
    exponent = torch.ceil(torch.log2(seen.view(n, 256).sum(1))).int().view(n, 1, 1, 1)
    uniform = torch.randint(2**_BITS, levels.shape, generator=generator, dtype=torch.int32).to(images.device)
    counts = _poisson_table(images.device).quantile(exponent * 256 + levels, uniform)
    return counts.to(images.dtype).div_(1 << exponent).sub_(levels / 255)


class _PoissonTable(NamedTuple):
    """All cumulative Poisson distributions, one after the other. Row ``256 e + k`` has mean ``2^e k / 255``.

    Attributes:
        entries: one sorted list of ``row·2^23 + floor(2^23 · P(count <= c))`` for c = 0, 1, ... until the probability
            reaches 1 at that resolution.
        thresholds: the same without ``row·2^23``, so that it fits into 32 bits.
        starts: where each row starts.
        guide: for each row and each of `_BUCKETS` equal parts of [0, 1), where a search from its left end ends.
    """

    entries: Tensor
    thresholds: Tensor
    starts: Tensor
    guide: Tensor

    def quantile(self, row: Tensor, uniform: Tensor) -> Tensor:
        """Returns the smallest count with ``uniform < 2^23 · P(count)``; all int32, of one shape."""
        shape, row, uniform = row.shape, row.flatten(), uniform.flatten()
        if row.device.type == 'cpu':
            found = self._guided(row, uniform)
        else:  # as fast there, and the host need not wait to learn how many are left
            found = self._searched(row, uniform)
        return (found - self.starts.index_select(0, row)).view(shape)

    def _guided(self, row: Tensor, uniform: Tensor) -> Tensor:
        """At most one entry lies within nearly every bucket, so that one step on is the end; the rest are searched."""
        found = self.guide.index_select(0, (row * _BUCKETS).add_(uniform >> _BITS_IN_BUCKET))
        found += self.thresholds.index_select(0, found) <= uniform
        # NumPy finds the few in a fifth of torch's time.
        left = torch.from_numpy(np.flatnonzero((self.thresholds.index_select(0, found) <= uniform).numpy()))
        found[left] = self._searched(row[left], uniform[left])
        return found

    def _searched(self, row: Tensor, uniform: Tensor) -> Tensor:
        return torch.searchsorted(self.entries, (row.long() << _BITS) + uniform, right=True, out_int32=True)


@lru_cache(maxsize=8)
def _poisson_table(device: torch.device) -> _PoissonTable:
    rows, starts, total = [], [], 0
    for row in range(9 * 256):
        mean = 2.0 ** (row // 256) * (row % 256) / 255
        counts = np.arange(int(mean + 7 * math.sqrt(mean)) + 12, dtype=np.float64)
        log_factorial = np.concatenate([[0.0], np.cumsum(np.log(counts[1:]))])
        exponent = counts * math.log(max(mean, 1e-300)) - mean - log_factorial
        cumulated = np.minimum(np.cumsum(np.exp(exponent)), 1.0)
        rows.append(np.floor(cumulated * 2**_BITS).astype(np.int32))
        rows[-1][-1] = 1 << _BITS  # ends the row: no number is looked up in the next
        starts.append(total)
        total += len(counts)
    entries = np.concatenate([(number << _BITS) + row.astype(np.int64) for number, row in enumerate(rows)])
    guide = np.searchsorted(entries, np.arange(len(rows) * _BUCKETS) << _BITS_IN_BUCKET, side='right')
    parts = entries, np.concatenate(rows), np.array(starts, np.int32), guide.astype(np.int32)
    return _PoissonTable(*(torch.from_numpy(part).to(device) for part in parts))
