"""SSD-GAN discriminator: any discriminator, together with a classifier of the one-dimensional power spectrum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from metaf2n_arch.functional.spectrum import normalised_spectrum
from metaf2n_arch.images.luminance import luminance
from metaf2n_arch.utils.checks import OptionError, require_image_batch
from metaf2n_arch.utils.registries import build, register


@register(ARCH_REGISTRY)
class SSDDiscriminator(nn.Module):
    """Spatial and spectral discriminator (Chen et al., "SSD-GAN", AAAI 2021).

    D_ss(x) = λ · D(x) + (1 - λ) · C(S(x)): D is any discriminator, S the azimuthally averaged log-spectrum of the
    luminance, shifted and scaled to [0, 1], C one linear layer with spectral normalisation. If D returns a map of
    logits, C's one logit is added to each of them.

    Args:
        discriminator: options of D, ``{type: UNetDiscriminatorSN, num_in_ch: 3}``, or a module.
        spatial_weight: λ in [0, 1]. The authors use 0.5.
        bins: length of the spectrum; images with sides of 2 (bins - 1) or more are always large enough.
        differentiable: whether the generator gets a gradient through S. In the authors' program S is a constant.

    Forward: (B, 3 or 1, H, W) in [0, 1] → D's logits, shape unchanged.

    Differences: C is trained by the same loss as D; the authors give C a loss of its own, and weight D's loss by it.
    Rings are those of `metaf2n_arch.functional.spectrum`.

    Raises:
        OptionError: for an unknown discriminator, arguments that it does not accept, or numbers out of range.
        ValueError: if D's output has no batch dimension, the images are complex or integers, or too small for the
            spectrum.

    >>> import torch
    >>> net = SSDDiscriminator({'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 8}, bins=17)
    >>> net(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 1, 32, 32])
    """

    def __init__(
        self,
        discriminator: Mapping[str, Any] | nn.Module,
        spatial_weight: float = 0.5,
        bins: int = 33,
        differentiable: bool = True,
    ) -> None:
        super().__init__()
        if not 0 <= spatial_weight <= 1:
            raise OptionError(f'SSDDiscriminator spatial_weight is {spatial_weight!r}, expected a number in [0, 1].')
        if not isinstance(bins, int) or bins < 2:
            raise OptionError(f'SSDDiscriminator bins is {bins!r}, expected an integer of 2 or more.')
        self.discriminator: nn.Module = (
            discriminator
            if isinstance(discriminator, nn.Module)
            else build(ARCH_REGISTRY, discriminator, 'SSDDiscriminator.discriminator')
        )
        self.classifier = spectral_norm(nn.Linear(bins, 1))
        self.spatial_weight = float(spatial_weight)
        self.bins = bins
        self.differentiable = bool(differentiable)

    def forward(self, x: Tensor) -> Tensor:
        require_image_batch('x', x)
        spatial = self.discriminator(x)
        if not isinstance(spatial, Tensor) or spatial.ndim == 0 or spatial.shape[0] != x.shape[0]:
            found = tuple(spatial.shape) if isinstance(spatial, Tensor) else type(spatial).__name__
            raise ValueError(
                f'The discriminator returned {found} for {len(x)} images, expected logits ({len(x)}, ...).'
            )
        gray = luminance(x if self.differentiable else x.detach())[:, 0]
        spectrum = normalised_spectrum(gray.float(), 'log', self.bins)
        spectral = self.classifier(spectrum.to(x.dtype)).reshape(-1, *[1] * (spatial.ndim - 1))
        return self.spatial_weight * spatial + (1 - self.spatial_weight) * spectral
