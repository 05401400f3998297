"""GPEN: a face restorer that embeds a StyleGAN2 generator as the decoder of a U-shaped network, in plain torch.

Yang et al., "GAN Prior Embedded Network for Blind Face Restoration in the Wild", CVPR 2021, arXiv 2105.06070; the
layers are those of Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020, arXiv 1912.04958.
Written from these descriptions and from the names and shapes in the published checkpoints, which load strictly.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from metaf2n_arch.utils.checks import OptionError, require_image_batch
from metaf2n_arch.utils.registries import register

STYLE_DIM = 512
MAPPING_LAYERS = 8
MAPPING_RATE = 0.01
FIR = (1.0, 3.0, 3.0, 1.0)
GAIN = math.sqrt(2)
"""Gain of each leaky ReLU, which keeps the variance. The layer before multiplies its output by it: a·f(x) = f(a·x)."""


class PixelNorm(nn.Module):
    """Scales each vector to mean square 1: ``z / sqrt(mean(z²) + 1e-8)`` over dimension 1."""

    def forward(self, z: Tensor) -> Tensor:
        return z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)


class BiasedLeakyReLU(nn.Module):
    """``sqrt(2) * leaky_relu(x + b, 0.2)`` with one bias per channel.

    The layer before reads the bias, and adds it in its own pass over the image, which saves one pass.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Takes ``sqrt(2) * (x + b)``, which it overwrites."""
        return F.leaky_relu(x, 0.2, inplace=True)


class EqualizedLinear(nn.Module):
    """A linear layer whose weight is multiplied by ``rate / sqrt(fan_in)``, and bias by `rate`, in the forward.

    Args:
        inputs: number of input features.
        outputs: number of output features.
        bias: initial value of the bias parameter.
        rate: StyleGAN's learning-rate multiplier.
        activate: whether a leaky ReLU with gain sqrt(2) follows.
    """

    def __init__(self, inputs: int, outputs: int, bias: float = 0.0, rate: float = 1.0, activate: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias))
        self.rate = rate
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * (self.rate / math.sqrt(self.weight.shape[1]))
        if self.activate:
            return F.leaky_relu(F.linear(x, weight, self.bias * self.rate), 0.2) * GAIN
        return F.linear(x, weight, self.bias * self.rate)


class EqualizedConv(nn.Module):
    """A convolution whose weight is multiplied by ``1 / sqrt(fan_in)`` in the forward: ``gain * (w * x + bias)``."""

    def __init__(self, inputs: int, outputs: int, side: int, stride: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, side, side))
        self.stride = stride

    def forward(self, x: Tensor, bias: Tensor, gain: float) -> Tensor:
        weight = self.weight * (gain / math.sqrt(self.weight[0].numel()))
        return F.conv2d(x, weight, gain * bias, stride=self.stride)


class Fir(nn.Module):
    """Zero-pads and filters each channel with the separable [1, 3, 3, 1] kernel.

    Args:
        pad: number of zeros before and after, along both axes.
        gain: sum of the kernel; 4 where three of four pixels are inserted zeros.
        up: 2 first doubles the size by inserting zeros.
    """

    kernel: Tensor

    def __init__(self, pad: tuple[int, int], gain: float = 1.0, up: int = 1) -> None:
        super().__init__()
        line = torch.tensor(FIR)
        kernel = torch.outer(line, line)
        self.register_buffer('kernel', kernel * (gain / kernel.sum()))
        self.pad = pad
        self.up = up

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        channels = x.shape[1]
        if self.up > 1:
            stuffing = x.new_zeros(1, 1, self.up, self.up)
            stuffing[:, :, 0, 0] = 1
            x = F.conv_transpose2d(x, stuffing.expand(channels, 1, -1, -1), stride=self.up, groups=channels)
        before, after = self.pad
        if before != after:
            x = F.pad(x, (*self.pad, *self.pad))
        # A convolution flips the kernel; torch's conv2d is a correlation.
        kernel = self.kernel.flip(0, 1).to(x.dtype).expand(channels, 1, -1, -1)
        return F.conv2d(x, kernel, bias, padding=before if before == after else 0, groups=channels)


class ModulatedConv(nn.Module):
    """StyleGAN2's convolution with weights scaled by a style, per image (Karras 2020, equations 1 and 3).

    With style s, weight w_oik scaled by 1 / sqrt(fan_in), and d_o = 1 / sqrt(Σ_ik (s_i w_oik)² + 1e-8):
    ``y_o = d_o Σ_i w_oi * (s_i x_i)``. A single image, and on a CPU each image, is convolved with its own scaled
    weights if the weights are fewer numbers than the image. Otherwise images are scaled instead of weights, so that one
    convolution computes the whole batch.

    Args:
        inputs: number of input channels.
        outputs: number of output channels.
        side: side of the kernel.
        demodulate: whether to multiply by d.
        up: whether the convolution doubles the size (transposed, then a low-pass filter).
    """

    def __init__(self, inputs: int, outputs: int, side: int, demodulate: bool = True, up: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, outputs, inputs, side, side))
        self.modulation = EqualizedLinear(STYLE_DIM, inputs, bias=1.0)
        self.demodulate = demodulate
        if up:
            self.blur = Fir((1, 1), gain=4.0)
        self.up = up

    def forward(self, x: Tensor, style: Tensor, bias: Tensor | None = None, gain: float = 1.0) -> Tensor:
        """Returns ``gain * y + bias``."""
        weight = self.weight[0]
        scale = self.modulation(style) / math.sqrt(weight[0].numel())
        if self.demodulate:
            energy = scale.square() @ torch.linalg.vector_norm(weight, dim=(2, 3)).square().T
            after = gain * torch.rsqrt(energy + 1e-8)
        else:
            after = scale.new_full((len(x), len(weight)), gain)
        alone = (len(x) == 1 or x.device.type == 'cpu') and weight.numel() < x[0].numel()
        return (self._one_by_one if alone else self._together)(x, scale, after, bias)

    def _one_by_one(self, x: Tensor, scale: Tensor, after: Tensor, bias: Tensor | None) -> Tensor:
        weight = self.weight[0]
        images = [
            self._convolve(image, weight * (a[:, None] * s)[:, :, None, None], bias)
            for image, s, a in zip(x.split(1), scale, after)
        ]
        return images[0] if len(images) == 1 else torch.cat(images)

    def _together(self, x: Tensor, scale: Tensor, after: Tensor, bias: Tensor | None) -> Tensor:
        y = self._convolve(x * scale[:, :, None, None], self.weight[0]) * after[:, :, None, None]
        return y if bias is None else y + bias[:, None, None]

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if self.up:
            return self.blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), bias)
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


class SkipNoise(nn.Module):
    """GPEN's replacement of StyleGAN2's noise: the scaled feature map of the encoder, concatenated to the decoder's."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, feature: Tensor, bias: Tensor, gain: float) -> Tensor:
        """Returns x, concatenated with ``gain * (weight * feature + bias)``."""
        return torch.cat([x, torch.addcmul(gain * bias[:, None, None], feature, gain * self.weight)], dim=1)


class StyledConv(nn.Module):
    """Modulated convolution, concatenation of the encoder's feature, bias and leaky ReLU: doubles the channels."""

    def __init__(self, inputs: int, outputs: int, up: bool = False) -> None:
        super().__init__()
        self.conv = ModulatedConv(inputs, outputs, 3, up=up)
        self.noise = SkipNoise()
        self.activate = BiasedLeakyReLU(2 * outputs)

    def forward(self, x: Tensor, style: Tensor, feature: Tensor) -> Tensor:
        own, skipped = self.activate.bias.chunk(2)
        return self.activate(self.noise(self.conv(x, style, GAIN * own, GAIN), feature, skipped, GAIN))


class ToRGB(nn.Module):
    """Adds the RGB image of this resolution to the upscaled RGB image of the resolution before."""

    def __init__(self, inputs: int, first: bool = False) -> None:
        super().__init__()
        if not first:
            self.upsample = Fir((2, 1), gain=4.0, up=2)
        self.conv = ModulatedConv(inputs, 3, 1, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, x: Tensor, style: Tensor, skip: Tensor | None = None) -> Tensor:
        rgb = self.conv(x, style, self.bias.flatten())
        return rgb if skip is None else rgb + self.upsample(skip)


class ConstantInput(nn.Module):
    """The learned 4 x 4 input of the decoder."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, channels, 4, 4))

    def forward(self, batch: int) -> Tensor:
        return self.input.expand(batch, -1, -1, -1)


class Decoder(nn.Module):
    """StyleGAN2's mapping and synthesis networks, with encoder features in place of noise.

    Args:
        channels: channels of the convolutions at side 4, 8, ..., size.
    """

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        mapping = [
            EqualizedLinear(STYLE_DIM, STYLE_DIM, rate=MAPPING_RATE, activate=True) for _ in range(MAPPING_LAYERS)
        ]
        self.style = nn.Sequential(PixelNorm(), *mapping)
        self.input = ConstantInput(channels[0])
        self.conv1 = StyledConv(channels[0], channels[0])
        self.to_rgb1 = ToRGB(2 * channels[0], first=True)
        self.convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        for before, here in pairwise(channels):
            self.convs.append(StyledConv(2 * before, here, up=True))
            self.convs.append(StyledConv(2 * here, here))
            self.to_rgbs.append(ToRGB(2 * here))

    def forward(self, code: Tensor, features: list[Tensor]) -> Tensor:
        """Decodes a latent code (B, 512) with the encoder's features, smallest first."""
        style = self.style(code)
        start = self.input(len(code)).contiguous(memory_format=_layout(code.device))
        x = self.conv1(start, style, features[0])
        rgb = self.to_rgb1(x, style)
        for i, (feature, to_rgb) in enumerate(zip(features[1:], self.to_rgbs)):
            x = self.convs[2 * i](x, style, feature)
            x = self.convs[2 * i + 1](x, style, feature)
            rgb = to_rgb(x, style, rgb)
        return rgb


@register(ARCH_REGISTRY)
class GPEN(nn.Module):
    """GAN prior embedded network (Yang et al. 2021, section 3.2): an encoder, and a StyleGAN2 decoder on its features.

    The encoder halves the face until it is 4 x 4. Its last feature map gives the latent code. Each feature map enters
    the decoder at the two convolutions of its size (one at 4 x 4), where StyleGAN2 adds noise. Nothing is random.
    Numerically equal to the authors' program; the checkpoints GPEN-BFR-256 and GPEN-BFR-512 load strictly.

    Args:
        size: side of the faces, a power of two, at least 8.
        channel_multiplier: factor on the number of channels at sides of 64 and more.
        narrow: factor on the number of channels of all layers.

    Raises:
        OptionError: `size` is not a power of two, or `narrow` leaves a layer without channels.

    >>> GPEN(size=8, narrow=0.0625)(torch.zeros(2, 3, 8, 8)).shape
    torch.Size([2, 3, 8, 8])
    """

    def __init__(self, size: int = 512, channel_multiplier: int = 2, narrow: float = 1.0) -> None:
        super().__init__()
        if size < 8 or size & (size - 1):
            raise OptionError(f'GPEN: size is {size}, expected a power of two, at least 8.')
        self.size = size
        sides = [2**i for i in range(2, size.bit_length())]
        channels = [gpen_channels(side, channel_multiplier, narrow) for side in sides]
        if min(channels) < 1:
            raise OptionError(f'GPEN: narrow {narrow} leaves no channel at size {size}; make it larger.')
        self.generator = Decoder(channels)
        downward = channels[::-1]
        self.depth = len(channels)
        self.ecd0 = nn.Sequential(EncoderLayer(3, downward[0], first=True))
        for i in range(1, self.depth):
            setattr(self, f'ecd{i}', nn.Sequential(EncoderLayer(downward[i - 1], downward[i])))
        self.final_linear = nn.Sequential(EqualizedLinear(channels[0] * 16, STYLE_DIM, activate=True))

    def forward(self, x: Tensor) -> Tensor:
        """Restores faces.

        Args:
            x: (B, 3, size, size) RGB faces in [-1, 1], aligned as in FFHQ.

        Returns:
            (B, 3, size, size), RGB, about [-1, 1], not clamped.

        Raises:
            ValueError: `x` has another shape or no floating-point dtype.
        """
        require_image_batch('x', x, channels=3)
        if x.shape[2:] != (self.size, self.size):
            raise ValueError(f'x has shape {tuple(x.shape)}, expected (B, 3, {self.size}, {self.size}).')
        x, features = x.contiguous(memory_format=_layout(x.device)), []
        for i in range(self.depth):
            x = getattr(self, f'ecd{i}')(x)
            features.append(x)
        code = self.final_linear(x.flatten(1))
        return self.generator(code, features[::-1]).contiguous()


def gpen_channels(side: int, channel_multiplier: int, narrow: float) -> int:
    """Number of channels of the layers at ``side`` x ``side``: StyleGAN2's table, times `narrow`.

    >>> [gpen_channels(side, 2, 1.0) for side in (4, 32, 64, 512)]
    [512, 512, 512, 64]
    """
    full = 512 if side <= 32 else 256 * 64 // side * channel_multiplier
    return int(full * narrow)


class EncoderLayer(nn.Sequential):
    """A 1 x 1 convolution at full size, or a low-pass filter and a 3 x 3 convolution with stride 2; a leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, first: bool = False) -> None:
        if first:
            super().__init__(EqualizedConv(inputs, outputs, 1), BiasedLeakyReLU(outputs))
        else:
            super().__init__(Fir((2, 2)), EqualizedConv(inputs, outputs, 3, stride=2), BiasedLeakyReLU(outputs))

    def forward(self, x: Tensor) -> Tensor:
        *filters, conv, activate = self
        for low_pass in filters:
            x = low_pass(x)
        return activate(conv(x, activate.bias, GAIN))


def _layout(device: torch.device) -> torch.memory_format:
    """The memory format of a device: channels_last on a CPU, where it makes GPEN a third faster."""
    return torch.channels_last if device.type == 'cpu' else torch.contiguous_format
