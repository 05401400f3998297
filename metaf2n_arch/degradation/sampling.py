"""Sampling of a degradation from its configuration. Keep the order of the draws: seeds depend on it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor

from metaf2n_arch.degradation import kernels
from metaf2n_arch.degradation.params import SIDE, DegradationParams, NoiseParams, StageParams

if TYPE_CHECKING:
    from metaf2n_arch.degradation.config import DegradationConfig, StageConfig

Name = TypeVar('Name', bound=str)


def draw_degradation(config: DegradationConfig, rng: np.random.Generator) -> DegradationParams:
    """Returns one draw of the whole two-stage degradation."""
    first = draw_stage(config.stage1, rng, config.noise_per == 'task')
    second = draw_stage(config.stage2, rng, config.noise_per == 'task')
    sinc = kernels.identity(SIDE)
    if rng.random() < config.final_sinc_prob:
        sinc = kernels.sinc(int(rng.choice(range(7, SIDE + 1, 2))), rng.uniform(math.pi / 3, math.pi))
    params = DegradationParams(
        scale=config.scale,
        stages=(first, second),
        sinc=_as_tensor(sinc),
        final_mode=_choose(config.final_mode_prob, rng),
        jpeg_last=bool(rng.random() < config.jpeg_last_prob),
        seed=int(rng.integers(2**62)),
    )
    if config.light == (1.0, 1.0):
        return params  # nothing is drawn, so that older seeds still give the same draws
    red, green, blue = (float(gain) for gain in rng.uniform(*config.light, size=3))
    return replace(params, light=(red, green, blue))


def draw_stage(config: StageConfig, rng: np.random.Generator, one_strength: bool) -> StageParams:
    """Returns one draw of a stage; `one_strength` draws one noise strength here, not one for each image later."""
    kernel = draw_kernel(config, rng) if rng.random() < config.blur_prob else kernels.identity(SIDE)
    direction = _choose(config.resize_prob, rng)
    low, high = config.resize_range
    bounds = {'up': (max(low, 1.0), high), 'down': (low, min(high, 1.0)), 'keep': (1.0, 1.0)}[direction]
    factor = float(rng.uniform(*bounds))
    kind = _choose(config.noise_prob, rng)
    ranges = {'gaussian': config.gaussian_sigma, 'poisson': config.poisson_scale, 'speckle': config.speckle_sigma}
    strength = ranges.get(kind, (0.0, 0.0))
    if one_strength:
        strength = (float(rng.uniform(*strength)),) * 2
    gray = bool(rng.random() < config.gray_prob)
    mode = _choose(config.resize_mode_prob, rng)
    compressed = rng.random() < config.jpeg_prob
    quality = int(rng.integers(config.jpeg_quality[0], config.jpeg_quality[1] + 1))
    codec: str = 'jpeg'
    if set(config.compression_prob) != {'jpeg'}:
        codec = _choose(config.compression_prob, rng)
        if codec != 'jpeg':
            low_quality, high_quality = _quality_range(config, codec)
            quality = int(rng.integers(low_quality, high_quality + 1))
    noise = NoiseParams(kind, strength, gray)
    beyond = (*_draw_finish(config, rng), codec)
    return StageParams(_as_tensor(kernel), factor, mode, noise, quality if compressed else 0, *beyond)


def _quality_range(config: StageConfig, codec: str) -> tuple[int, int]:
    if codec in ('webp', 'avif'):
        return config.webp_quality if codec == 'webp' else config.avif_quality
    return config.mpeg_quantiser if codec in ('mpeg2', 'mpeg4') else config.video_crf


def _draw_finish(config: StageConfig, rng: np.random.Generator) -> tuple[float, float, str, int]:
    """Returns halo, its sigma, dithering and its levels; draws nothing for a step that is switched off."""
    halo, sigma, dither, levels = 0.0, 1.0, 'none', 0
    if config.halo_prob > 0 and rng.random() < config.halo_prob:
        halo, sigma = float(rng.uniform(*config.halo_strength)), float(rng.uniform(*config.halo_sigma))
    if set(config.dither_prob) != {'none'}:
        dither = _choose(config.dither_prob, rng)
        if dither != 'none':
            levels = int(rng.integers(config.dither_levels[0], config.dither_levels[1] + 1))
    return halo, sigma, dither, levels


def draw_kernel(config: StageConfig, rng: np.random.Generator) -> np.ndarray:
    """Returns a normalised float64 kernel of one of `config.kernel_sizes`.

    The cutoff of a sinc kernel starts at pi/3 for sides under 13, else at pi/5, so that its ringing stays visible.
    """
    side = int(rng.choice(config.kernel_sizes))
    if rng.random() < config.sinc_prob:
        return kernels.sinc(side, rng.uniform(math.pi / 3 if side < 13 else math.pi / 5, math.pi))
    family = _choose(config.kernel_prob, rng)
    theta = rng.uniform(-math.pi, math.pi)
    if family == 'motion':
        return kernels.motion(side, rng.uniform(*config.motion_length), theta)
    if family == 'defocus':
        return kernels.defocus(side, rng.uniform(*config.defocus_radius))
    sigma_x, sigma_y = rng.uniform(*config.sigma, size=2)
    if not family.endswith('aniso'):
        sigma_y = sigma_x
    if family.startswith('generalized'):
        return kernels.generalized_gaussian(side, _draw_beta(config.generalized_beta, rng), sigma_x, sigma_y, theta)
    if family.startswith('plateau'):
        return kernels.plateau(side, _draw_beta(config.plateau_beta, rng), sigma_x, sigma_y, theta)
    return kernels.gaussian(side, sigma_x, sigma_y, theta)


def _draw_beta(bounds: tuple[float, float], rng: np.random.Generator) -> float:
    """Returns an exponent: below 1 and above 1 equally often if the range has both, as in Real-ESRGAN."""
    low, high = bounds
    if low <= 1 <= high:
        low, high = (low, 1.0) if rng.random() < 0.5 else (1.0, high)
    return float(rng.uniform(low, high))


def _choose(probabilities: Mapping[Name, float], rng: np.random.Generator) -> Name:
    names = list(probabilities)
    weights = np.array([probabilities[name] for name in names])
    return names[int(rng.choice(len(names), p=weights / weights.sum()))]


def _as_tensor(kernel: np.ndarray) -> Tensor:
    return torch.from_numpy(kernels.pad_kernel(kernel, SIDE)).float()
