"""RRDBNet and SRVGGNetCompact, the generators of Real-ESRGAN's published weights, under BasicSR's names of tensors.

BasicSR has both, but importing one of its networks imports all of BasicSR, which takes longer than restoring a small
photo. These networks are built from the shapes in their weights files, and are not registered.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DenseBlock(nn.Module):
    """Five convolutions, each on the outputs of all before it: x + 0.2 · f(x), (B, C, H, W) to the same shape."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3, self.conv4, self.conv5 = (
            nn.Conv2d(channels + number * growth, growth if number < 4 else channels, 3, padding=1)
            for number in range(5)
        )

    def forward(self, x: Tensor) -> Tensor:
        seen = [x]
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            seen.append(_leaky(conv(torch.cat(seen, 1))))
        return x + 0.2 * self.conv5(torch.cat(seen, 1))


class ResidualDenseBlocks(nn.Module):
    """Three dense blocks with a residual connection: x + 0.2 · f(x)."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (DenseBlock(channels, growth) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.2 * self.rdb3(self.rdb2(self.rdb1(x)))


class RRDB(nn.Module):
    """RRDBNet (Wang et al., "ESRGAN", ECCVW 2018; with pixel-unshuffling at the entry: "Real-ESRGAN", ICCVW 2021).

    Args:
        scale: s: 4, 2 or 1; 2 and 1 first fold 2 x 2 and 4 x 4 pixels into channels.
        features: channels of the trunk.
        blocks: number of residual blocks.
        growth: channels that a convolution adds inside a dense block.

    Forward: (B, 3, h, w), sides a multiple of 4 / scale, to (B, 3, s·h, s·w).
    """

    def __init__(self, scale: int, features: int, blocks: int, growth: int) -> None:
        super().__init__()
        self.fold = 4 // scale
        self.conv_first = nn.Conv2d(3 * self.fold**2, features, 3, padding=1)
        self.body = nn.Sequential(*(ResidualDenseBlocks(features, growth) for _ in range(blocks)))
        self.conv_body, self.conv_up1, self.conv_up2, self.conv_hr = (
            nn.Conv2d(features, features, 3, padding=1) for _ in range(4)
        )
        self.conv_last = nn.Conv2d(features, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_first(F.pixel_unshuffle(x, self.fold) if self.fold > 1 else x)
        x = x + self.conv_body(self.body(x))
        for enlarge in (self.conv_up1, self.conv_up2):
            x = _leaky(enlarge(F.interpolate(x, scale_factor=2.0, mode='nearest')))
        return self.conv_last(_leaky(self.conv_hr(x)))


class Compact(nn.Module):
    """SRVGGNetCompact (Wang et al., "Real-ESRGAN", ICCVW 2021) with PReLU: a chain of convolutions learns a residual.

    Args:
        scale: s.
        features: channels of the convolutions.
        convolutions: number of convolutions between the first and the last.

    Forward: (B, 3, h, w) to (B, 3, s·h, s·w).
    """

    def __init__(self, scale: int, features: int, convolutions: int) -> None:
        super().__init__()
        self.scale = scale
        layers: list[nn.Module] = [nn.Conv2d(3, features, 3, padding=1), nn.PReLU(features)]
        for _ in range(convolutions):
            layers += [nn.Conv2d(features, features, 3, padding=1), nn.PReLU(features)]
        layers.append(nn.Conv2d(features, 3 * scale**2, 3, padding=1))
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        residual = F.pixel_shuffle(self.body(x), self.scale)
        return residual + F.interpolate(x, scale_factor=self.scale, mode='nearest')


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2, inplace=True)
