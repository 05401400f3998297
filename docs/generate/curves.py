"""Curves of the documents: adversarial losses over the critic's margin, spectra, and metrics as an image gets worse.

    python docs/generate/curves.py            # writes docs/pictures/; ten seconds on one core, no weights, no network

The photograph is scikit-image's cat (by Stéfan van der Walt, public domain).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from matplotlib.figure import Figure
from pictures import FOLDER
from skimage import data

from metaf2n_arch.functional.relativistic import relativistic_loss
from metaf2n_arch.functional.spectrum import normalised_spectrum
from metaf2n_arch.images.arrays import to_tensor
from metaf2n_arch.images.luminance import luminance
from metaf2n_arch.metrics.niqe_metric import calculate_niqe_y
from metaf2n_arch.metrics.power_spectrum_metric import PowerSpectrumDiscrepancy
from metaf2n_arch.metrics.psnr_y_metric import calculate_psnr_y
from metaf2n_arch.metrics.ssim_y_metric import calculate_ssim_y

MARGINS = {'RaGAN': 'bce', 'RaLS': 'ls', 'RaHinge': 'hinge'}


def cat() -> np.ndarray:
    """The cat, (300, 300, 3) RGB of 8 bits."""
    return data.chelsea()[:, 75:375].copy()


def blurred(image: np.ndarray, strength: float) -> np.ndarray:
    """A Gaussian blur, its standard deviation in pixels."""
    return cv2.GaussianBlur(image, (0, 0), strength) if strength else image


def noisy(image: np.ndarray, strength: float) -> np.ndarray:
    """Gaussian noise, its standard deviation in grey levels."""
    noise = np.random.default_rng(0).normal(0, strength, image.shape) if strength else 0
    return (image + noise).round().clip(0, 255).astype(np.uint8)


def compressed(image: np.ndarray, strength: float) -> np.ndarray:
    """JPEG of the quality 100 - strength."""
    encoded = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, int(100 - strength)])[1]
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)


WORSE: dict[str, tuple[Callable[[np.ndarray, float], np.ndarray], float]] = {
    'blur, σ up to 4 pixels': (blurred, 4),
    'noise, σ up to 40 of 255': (noisy, 40),
    'JPEG, quality down to 10': (compressed, 90),
}
"""What is done to the photograph, and its strongest."""


def adversarial() -> Figure:
    """The critic's and the generator's loss over r - f, for one real and one generated logit."""
    figure = Figure(figsize=(8, 3), layout='constrained')
    margins = torch.linspace(-3, 3, 121)
    zero = torch.zeros(1)
    for axis, title in zip(figure.subplots(1, 2), ("critic's loss", "generator's loss")):
        for name, margin in MARGINS.items():
            pairs = [(m[None], zero) if title.startswith('critic') else (zero, m[None]) for m in margins]
            axis.plot(margins, [relativistic_loss(*pair, 'average', margin) for pair in pairs], label=name)
        axis.set(title=title, xlabel='real logit - generated logit')
        axis.grid(alpha=0.3)
    axis.legend()
    return figure


def spectra() -> Figure:
    """S of a photograph, and of what a restoration could have made of it."""
    image = cat()
    small = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    shown = {
        'photograph': image,
        'blurred, σ 1.5': blurred(image, 1.5),
        'noise, σ 15': noisy(image, 15),
        'halved, enlarged bicubically': cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_CUBIC),
        'halved, enlarged by repeating': small.repeat(2, 0).repeat(2, 1),
    }
    figure = Figure(figsize=(6.5, 3.4), layout='constrained')
    axis = figure.subplots()
    for title, pixels in shown.items():
        spectrum = normalised_spectrum(luminance(to_tensor(pixels)[None])[0, 0], 'log')
        axis.plot(np.linspace(0, 1, len(spectrum)), spectrum, label=title)
    axis.set(xlabel='frequency, 1 = the highest of an axis', ylabel='S: log-modulus, scaled to [0, 1]')
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return figure


def metrics() -> Figure:
    """Metrics that need no download, as the photograph gets worse in three ways."""

    def spectrum(image: np.ndarray, truth: np.ndarray) -> float:
        measure = PowerSpectrumDiscrepancy()
        measure.update(image, truth)
        return measure.compute()

    measures: dict[str, Callable[[np.ndarray, np.ndarray], Any]] = {
        'PSNR in dB': calculate_psnr_y,
        'SSIM': calculate_ssim_y,
        'NIQE, lower is better': calculate_niqe_y,
        'spectrum, lower is better': spectrum,
    }
    truth = cat()[..., ::-1].copy()  # BGR, as metrics have it
    figure = Figure(figsize=(9, 2.8), layout='constrained')
    strengths = np.linspace(0, 1, 9)
    for axis, (title, measure) in zip(figure.subplots(1, 4), measures.items()):
        for name, (worse, most) in WORSE.items():
            axis.plot(strengths, [measure(worse(truth, most * s), truth) for s in strengths], label=name)
        axis.set(title=title, xlabel='strength')
        axis.title.set_fontsize(10)
        axis.grid(alpha=0.3)
    figure.legend(*axis.get_legend_handles_labels(), loc='outside lower center', ncols=3, fontsize=9)
    return figure


if __name__ == '__main__':
    for figure in (adversarial, spectra, metrics):
        figure().savefig(FOLDER / f'{figure.__name__}.png', dpi=110)
