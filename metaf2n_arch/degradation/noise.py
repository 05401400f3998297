"""Noise, made on the CPU from a seed, so that a draw gives the same noise on every device."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from metaf2n_arch.degradation.params import NoiseParams
from metaf2n_arch.images.luminance import luminance
from metaf2n_arch.utils.rng import torch_generator

_BITS = 23
"""Probabilities of the Poisson table are counted in 2^-23, the resolution of its uniform draws."""


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
        return (images + strength * poisson_residual(images, noise.gray, generator)).clamp(0, 1)
    field = torch.randn(shape, generator=generator).to(images.device) * (strength / 255)
    if noise.kind == 'speckle':
        field = field * images
    return (images + field).clamp(0, 1)


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
    levels = torch.round(images.clamp(0, 1) * 255).long()
    seen = torch.zeros(n, 256, device=images.device).scatter_(1, levels.reshape(n, -1), 1.0).sum(1)
    exponent = torch.ceil(torch.log2(seen)).long().view(n, 1, 1, 1)
    uniform = torch.randint(2**_BITS, levels.shape, generator=generator).to(images.device)
    table, starts = _poisson_table(images.device)
    row = exponent * 256 + levels
    counts = torch.searchsorted(table, (row << _BITS) + uniform, right=True) - starts[row]
    return counts.to(images.dtype) / (1 << exponent) - levels / 255


@lru_cache(maxsize=8)
def _poisson_table(device: torch.device) -> tuple[Tensor, Tensor]:
    """Returns all cumulative Poisson distributions, one after the other in one sorted list, and the start of each.

    Row ``256 e + k`` has mean ``2^e k / 255``; its entries are ``row·2^23 + floor(2^23 · P(count <= c))`` for
    c = 0, 1, ... until the probability reaches 1 at that resolution.
    """
    rows, starts, total = [], [], 0
    for row in range(9 * 256):
        mean = 2.0 ** (row // 256) * (row % 256) / 255
        counts = np.arange(int(mean + 7 * math.sqrt(mean)) + 12, dtype=np.float64)
        log_factorial = np.concatenate([[0.0], np.cumsum(np.log(counts[1:]))])
        exponent = counts * math.log(max(mean, 1e-300)) - mean - log_factorial
        cumulated = np.minimum(np.cumsum(np.exp(exponent)), 1.0)
        rows.append((row << _BITS) + np.floor(cumulated * 2**_BITS).astype(np.int64))
        # The last entry ends the row, so that no uniform number is looked up in the next row.
        rows[-1][-1] = (row + 1) << _BITS
        starts.append(total)
        total += len(counts)
    return torch.from_numpy(np.concatenate(rows)).to(device), torch.tensor(starts).to(device)
