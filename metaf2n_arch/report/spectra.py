"""Spectra for plots: mean one-dimensional power spectra of images."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from metaf2n_arch.functional.spectrum import normalised_spectrum
from metaf2n_arch.images.arrays import to_tensor
from metaf2n_arch.images.luminance import luminance
from metaf2n_arch.images.reading import read_image

BINS = 65


def mean_spectrum(files: Iterable[Path], enlarge: int = 1, bins: int = BINS) -> np.ndarray | None:
    """Returns the mean over images of log10(AI_k / AI_0), AI_k: azimuthally averaged power (Durall et al., CVPR 2020).

    Args:
        files: images; those with a side under 2 (bins - 1) pixels are left out.
        enlarge: factor of a bicubic enlargement before the transform, to compare low-quality images with results.
        bins: number of frequencies from 0 to half a cycle per pixel.

    Returns:
        (bins,) float64, or None if no image is large enough.
    """
    spectra = []
    for file in files:
        image = to_tensor(read_image(file))[None].double()
        if enlarge > 1:
            image = torch.nn.functional.interpolate(image, scale_factor=enlarge, mode='bicubic').clamp(0, 1)
        if min(image.shape[-2:]) >= 2 * (bins - 1):
            spectra.append(normalised_spectrum(luminance(image)[0, 0], 'decades', bins))
    return torch.stack(spectra).mean(0).numpy() if spectra else None
