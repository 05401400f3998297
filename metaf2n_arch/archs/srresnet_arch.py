"""SRResNet without normalisation, the generator of RankSRGAN."""

from __future__ import annotations

from basicsr.archs.arch_util import ResidualBlockNoBN, default_init_weights, make_layer
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from metaf2n_arch.utils.registries import register


@register(ARCH_REGISTRY)
class SRResNet(nn.Module):
    """SRResNet (Ledig et al., CVPR 2017) without batch norms, as RankSRGAN (Zhang et al., ICCV 2019) trains it.

    f = conv(x), h = f + conv(blocks(f)), then once per factor of 2 relu(shuffle(conv(h))), then conv(relu(conv(h))).
    BasicSR's MSRResNet is another network, and its weights do not fit: it adds the bilinearly upscaled input, has
    leaky slopes of 0.1, and no skip connection around its blocks.

    Args:
        num_in_ch, num_out_ch: channels of the images.
        num_feat: channels of the feature maps.
        num_block: number of residual blocks.
        upscale: 2, 3 or 4.

    Forward: (B, 3, h, w) RGB in [0, 1] → (B, 3, s·h, s·w), not clamped.

    Raises:
        ValueError: `upscale` is not 2, 3 or 4.

    >>> import torch
    >>> SRResNet(num_feat=8, num_block=1)(torch.rand(1, 3, 5, 6)).shape
    torch.Size([1, 3, 20, 24])
    """

    def __init__(
        self, num_in_ch: int = 3, num_out_ch: int = 3, num_feat: int = 64, num_block: int = 16, upscale: int = 4
    ) -> None:
        super().__init__()
        if upscale not in (2, 3, 4):
            raise ValueError(f'SRResNet upscale is {upscale}, expected 2, 3 or 4.')
        factor = 3 if upscale == 3 else 2
        self.conv_first = nn.Conv2d(num_in_ch, num_feat, 3, padding=1)
        self.body = make_layer(ResidualBlockNoBN, num_block, num_feat=num_feat)
        self.conv_after_body = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.upconv1 = nn.Conv2d(num_feat, num_feat * factor**2, 3, padding=1)
        self.upconv2 = nn.Conv2d(num_feat, num_feat * factor**2, 3, padding=1) if upscale == 4 else None
        self.shuffle = nn.PixelShuffle(factor)
        self.conv_hr = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv_last = nn.Conv2d(num_feat, num_out_ch, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        layers = [self.conv_first, self.upconv1, self.upconv2, self.conv_hr, self.conv_last]
        default_init_weights([layer for layer in layers if layer is not None], 0.1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.conv_first(x)
        features = first + self.conv_after_body(self.body(first))
        for upconv in (self.upconv1, self.upconv2):
            if upconv is not None:
                features = self.relu(self.shuffle(upconv(features)))
        return self.conv_last(self.relu(self.conv_hr(features)))
