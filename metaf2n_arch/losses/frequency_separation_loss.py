"""Frequency separation: a loss on one frequency band of the images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from metaf2n_arch.functional.bands import sinc_low_pass
from metaf2n_arch.losses.adversarial import AdversarialLoss, Critic, as_adversarial, check_pair
from metaf2n_arch.losses.pair import is_mean_over_images, nested_loss, require_pair
from metaf2n_arch.utils.checks import OptionError, require_choice
from metaf2n_arch.utils.registries import register


class Band(nn.Module):
    """One band of images (B, C, H, W): the output of a sinc low-pass (``low``) or the image minus it (``high``)."""

    def __init__(self, band: str, cutoff: float, kernel_size: int) -> None:
        super().__init__()
        require_choice('FrequencySeparation band', band, ('low', 'high'))
        if not 0 < cutoff < 1:
            raise OptionError(f'FrequencySeparation cutoff is {cutoff!r}, expected a fraction between 0 and 1.')
        if not isinstance(kernel_size, int) or kernel_size < 3 or kernel_size % 2 == 0:
            raise OptionError(f'FrequencySeparation kernel_size is {kernel_size!r}, expected an odd integer >= 3.')
        self.band, self.cutoff, self.kernel_size = band, float(cutoff), kernel_size

    def forward(self, x: Tensor) -> Tensor:
        low = sinc_low_pass(x, self.cutoff, self.kernel_size)
        return low if self.band == 'low' else x - low


class PixelFrequencySeparation(nn.Module):
    """A loss of two images, applied to one band of both. Other inputs (a mask, a confidence map) are not filtered."""

    def __init__(self, inner: nn.Module, band: Band) -> None:
        super().__init__()
        self.inner = inner
        self.band = band
        self.inputs = tuple(getattr(inner, 'inputs', ('pred', 'target')))
        self.mean_over_images = is_mean_over_images(inner)

    def forward(self, *values: Any, **named: Any) -> Tensor:
        given = {**dict(zip(self.inputs, values)), **named}
        if 'pred' in given and 'target' in given:
            require_pair(given['pred'], given['target'])
        filtered = {k: self.band(v) if k in ('pred', 'target') else v for k, v in given.items()}
        positional = [filtered.pop(name) for name in self.inputs[: len(values)]]
        return self.inner(*positional, **filtered)


class AdversarialFrequencySeparation(AdversarialLoss):
    """An adversarial loss whose critic sees one band of the images."""

    def __init__(self, inner: AdversarialLoss, band: Band) -> None:
        super().__init__(inner.loss_weight)
        self.inner = inner
        self.band = band
        self.mean_over_images = inner.mean_over_images

    def generator(self, critic: Critic, fake: Tensor, real: Tensor) -> Tensor:
        check_pair(fake, real)
        return self.inner.generator(critic, self.band(fake), self.band(real))

    def discriminator(self, critic: Critic, fake: Tensor, real: Tensor) -> Tensor:
        check_pair(fake, real)
        loss = self.inner.discriminator(critic, self.band(fake.detach()), self.band(real))
        self.stats = self.inner.stats
        return loss


@register(LOSS_REGISTRY)
def FrequencySeparation(
    loss: Mapping[str, Any] | nn.Module, band: str, cutoff: float = 0.5, kernel_size: int = 21
) -> PixelFrequencySeparation | AdversarialFrequencySeparation:
    """Returns a loss on one frequency band (Fritsche et al., "Frequency Separation", ICCVW 2019).

    The low band holds the content, so the pixel loss gets it: ``{type: FrequencySeparation, band: low, loss: {type:
    L1Loss}}``. The high band holds the texture, which the generator invents, so the critic gets it: ``{type:
    FrequencySeparation, band: high, loss: {type: GANLoss, gan_type: vanilla}}``. The paper does not filter the
    perceptual loss.

    The low band is low(x) = k * x with the circular sinc kernel k of `metaf2n_arch.functional.bands` and reflected
    borders, the high band x - low(x), of mean 0. The paper filters with a Gaussian or a mean; the sinc separates the
    bands more sharply.

    Args:
        loss: options of any loss of two images, or of an adversarial loss.
        band: ``low`` or ``high``.
        cutoff: frequency that separates the bands, as a fraction of the Nyquist frequency, between 0 and 1.
        kernel_size: side of the kernel in pixels, odd; sides of images must be longer than half of it.

    Raises:
        OptionError: for an unknown band or loss, a cutoff or a kernel size out of range.

    >>> import torch
    >>> loss = FrequencySeparation({'type': 'L1Loss', 'loss_weight': 2.0}, band='high')
    >>> x = torch.rand(1, 3, 32, 32)
    >>> bool(loss(x, x + 0.5) < 1e-5)  # a constant is no high frequency
    True
    """
    from basicsr.losses.gan_loss import GANLoss

    inner = nested_loss('FrequencySeparation', loss)
    part = Band(band, cutoff, kernel_size)
    if isinstance(inner, (AdversarialLoss, GANLoss)):
        return AdversarialFrequencySeparation(as_adversarial(inner), part)
    return PixelFrequencySeparation(inner, part)
