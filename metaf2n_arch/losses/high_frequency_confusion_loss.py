"""High-frequency confusion: the critic cannot tell images apart by their high frequencies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from metaf2n_arch.functional.bands import swap_high_band
from metaf2n_arch.losses.adversarial import AdversarialLoss, Critic, as_adversarial, check_pair
from metaf2n_arch.losses.pair import nested_loss
from metaf2n_arch.utils.checks import OptionError
from metaf2n_arch.utils.registries import register


@register(LOSS_REGISTRY)
class HighFrequencyConfusion(AdversarialLoss):
    """High-frequency confusion (Li et al., "Exploring the Effect of High-Frequency Components in GANs Training", 2021).

    Before a generated image is passed to the critic, all its frequencies outside the disc of radius `cutoff` are
    replaced by those of the real image it belongs to: fake' = low(fake) + high(real), real' = real. Any adversarial
    loss is then applied to (fake', real), for both players. The paper's other method, low bands alone for the critic
    (HFF), is ``FrequencySeparation`` with ``band: low``.

    Args:
        loss: options of the adversarial loss, ``{type: RelativisticGANLoss, kind: RaGAN, loss_weight: 0.1}``.
        cutoff: radius of the disc as a fraction of the Nyquist frequency, in (0, 1.5].

    Differences from the authors' program: fake' is not clipped to [0, 1], because clipped pixels have no gradient; and
    it is the real part of the inverse transform, not its modulus, which is the same for images in [0, 1].

    Raises:
        OptionError: for a cutoff out of range, or a nested loss that is not adversarial.

    >>> import torch
    >>> loss = HighFrequencyConfusion({'type': 'RelativisticGANLoss', 'kind': 'RaLS'}, cutoff=0.5)
    >>> fake, real = torch.full((1, 3, 8, 8), 0.2), torch.full((1, 3, 8, 8), 0.7)  # constants are low frequencies
    >>> round(loss.discriminator(lambda x: x.mean((1, 2, 3)), fake, real).item(), 4)  # 2 · (0.5 - 1)²
    0.5
    """

    def __init__(self, loss: Mapping[str, Any] | nn.Module, cutoff: float = 0.5) -> None:
        inner = as_adversarial(nested_loss('HighFrequencyConfusion', loss))
        super().__init__(inner.loss_weight)
        if not 0 < cutoff <= 1.5:
            raise OptionError(f'HighFrequencyConfusion cutoff is {cutoff!r}, expected a number in (0, 1.5].')
        self.inner = inner
        self.cutoff = float(cutoff)
        self.mean_over_images = inner.mean_over_images

    def generator(self, critic: Critic, fake: Tensor, real: Tensor) -> Tensor:
        check_pair(fake, real)
        return self.inner.generator(critic, swap_high_band(fake, real, self.cutoff), real)

    def discriminator(self, critic: Critic, fake: Tensor, real: Tensor) -> Tensor:
        check_pair(fake, real)
        loss = self.inner.discriminator(critic, swap_high_band(fake.detach(), real, self.cutoff), real)
        self.stats = self.inner.stats
        return loss
