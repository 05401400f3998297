"""Power spectrum discrepancy: the difference of the mean one-dimensional power spectra of two sets of images."""

from __future__ import annotations

import numpy as np
import torch
from basicsr.utils.registry import METRIC_REGISTRY
from torch import Tensor

from metaf2n_arch.functional.spectrum import normalised_spectrum
from metaf2n_arch.images.luminance import luminance
from metaf2n_arch.metrics.measure import as_tensor, checked_image, missing
from metaf2n_arch.metrics.sets import SummedSetMetric
from metaf2n_arch.utils.checks import OptionError, require_choice
from metaf2n_arch.utils.registries import register


def spectrum_discrepancy(first: Tensor, second: Tensor) -> float:
    """Returns mean_k (S_k - S'_k)² of two mean spectra (K,)."""
    return (first - second).square().mean().item()


@register(METRIC_REGISTRY)
class PowerSpectrumDiscrepancy(SummedSetMetric):
    """Mean squared difference of the mean 1D power spectra of results and references, from 0; lower is better.

    d = mean_k (S_k - S'_k)², S the mean over the set of the images' azimuthally averaged spectra of the luminance
    (Durall et al., CVPR 2020), as `metaf2n_arch.functional.spectrum` normalises them. It compares the sets, not the
    pairs; references may differ from their results in size.

    Args:
        scale: ``decades``, log₁₀ (AI_k / AI_0); ``log``, logarithms of moduli, shifted and scaled to [0, 1]; or
            ``power``, AI_k / AI_0, which only low frequencies influence. ``log`` is the usual plot, but its scale
            depends on the lowest value of each spectrum: strongly blurred images can be nearer than slightly blurred
            ones.
        bins: number of frequencies, from 0 to the Nyquist frequency. Images with sides of 2 (bins - 1) or more are
            always large enough; smaller ones are left out if they lack frequencies, with the reason in the log.
        crop_border: pixels left out at each border.
        better: ``higher`` or ``lower``, read by BasicSR's record of the best result.

    Raises:
        OptionError: for an unknown scale or fewer than 2 bins.
    """

    def __init__(self, scale: str = 'decades', bins: int = 65, crop_border: int = 0, better: str = 'lower') -> None:
        super().__init__()
        require_choice('PowerSpectrumDiscrepancy scale', scale, ('decades', 'log', 'power'))
        if not isinstance(bins, int) or bins < 2:
            raise OptionError(f'PowerSpectrumDiscrepancy bins is {bins!r}, expected an integer of 2 or more.')
        self.scale = scale
        self.bins = bins
        self.crop_border = crop_border
        self.sums = {
            name: torch.zeros(size, dtype=torch.float64)
            for name, size in (('results', bins), ('references', bins), ('count', 1))
        }

    def update(self, img: np.ndarray, img2: np.ndarray | None = None) -> None:
        try:
            spectra = [self._spectrum('result', img), self._spectrum('reference', img2)]
        except ValueError as error:
            missing('PowerSpectrumDiscrepancy of an image', error)
            return
        for name, spectrum in zip(('results', 'references'), spectra):
            self.sums[name] += spectrum
        self.sums['count'] += 1

    def _spectrum(self, name: str, image: np.ndarray | None) -> Tensor:
        gray = luminance(as_tensor(checked_image(name, image, self.crop_border)).double())
        return normalised_spectrum(gray[0, 0], self.scale, self.bins)

    def mean_spectra(self) -> tuple[Tensor, Tensor]:
        """Returns (results, references), each (bins,) float64, for plots; NaN if there was no image."""
        return self.sums['results'] / self.sums['count'], self.sums['references'] / self.sums['count']

    def compute(self) -> float:
        if not self.sums['count']:
            return missing('PowerSpectrumDiscrepancy', 'there was no image to measure')
        return spectrum_discrepancy(*self.mean_spectra())
