"""MaskNet: predicts the confidence of each pixel of a restored face."""

from __future__ import annotations

import math

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from metaf2n_arch.utils.checks import require_choice, require_image_batch
from metaf2n_arch.utils.registries import register

GRIDS = ('half_pixel', 'authors')


@register(ARCH_REGISTRY)
class MaskNet(nn.Module):
    """Confidence map ``W = relu(MaskNet([up(X_face), Y_face]))`` (MetaF2N, Yin et al. 2023, §3.3).

    3x3 convolutions, each followed by a ReLU, the last one included, so that W >= 0. Weights start from a truncated
    normal of variance 1 / fan_in, biases from zero, as in the authors' program. These weights are too small: each ReLU
    halves the second moment. So W starts near 0.02 on average and, for about every second seed, at 0 on most or all of
    the image, where the last ReLU passes no gradient. With `bias_last: 1.0` W starts near 1 for every seed, the value
    that the regulariser prefers.

    Args:
        num_in_ch: channels of the two faces together.
        num_feat: features of the hidden layers.
        num_conv: number of convolutions, ``conv1`` to ``conv<num_conv>``.
        upsample: grid on which the low-quality face is upscaled. ``half_pixel`` aligns pixel areas, as is usual today;
            ``authors`` samples at d / scale, a shift of one and a half output pixels at scale 4. Use it with weights
            that the authors' program has trained.
        bias_last: start value of the last bias; the paper's is 0.

    Raises:
        OptionError: `upsample` is unknown.
        ValueError: `num_conv` is below 2.

    >>> MaskNet(bias_last=1.0)(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 32, 32)).shape
    torch.Size([1, 1, 32, 32])
    """

    def __init__(
        self,
        num_in_ch: int = 6,
        num_feat: int = 64,
        num_conv: int = 8,
        upsample: str = 'half_pixel',
        bias_last: float = 0.0,
    ) -> None:
        super().__init__()
        require_choice('MaskNet upsample', upsample, GRIDS)
        if num_conv < 2:
            raise ValueError(f'MaskNet num_conv is {num_conv}, expected at least 2.')
        self.upsample = upsample
        self.names = [f'conv{i}' for i in range(1, num_conv + 1)]
        widths = [num_in_ch, *[num_feat] * (num_conv - 1), 1]
        for name, width_in, width_out in zip(self.names, widths, widths[1:]):
            conv = nn.Conv2d(width_in, width_out, 3, 1, 1)
            _variance_scaling_(conv.weight)
            nn.init.constant_(_bias(conv), 0.0 if name != self.names[-1] else bias_last)
            self.add_module(name, conv)

    @property
    def recorded_options(self) -> dict[str, str]:
        """Options that are saved with the weights, so that who loads the file need not know them."""
        return {'upsample': self.upsample}

    def forward(self, face_lq: Tensor, face_hq: Tensor) -> Tensor:
        """Returns the confidence of each pixel of the restored face.

        Args:
            face_lq: (N, 3, h, w) RGB in [0, 1]; upscaled here unless it has the size of `face_hq` already.
            face_hq: (N, 3, H, W) RGB in [0, 1], the restorer's output.

        Returns:
            (N, 1, H, W), non-negative.

        Raises:
            ValueError: an input is no floating-point batch of images.
        """
        require_image_batch('face_lq', face_lq)
        require_image_batch('face_hq', face_hq)
        height, width = face_hq.shape[-2:]
        x = torch.cat([enlarge(face_lq, (height, width), self.upsample), face_hq], 1)
        for name in self.names:
            x = F.relu(getattr(self, name)(x))
        return x


def enlarge(image: Tensor, size: tuple[int, int], grid: str = 'half_pixel') -> Tensor:
    """Upscales bicubically (Keys' kernel, a = -0.75, replicated border); an image that has the size is returned as is.

    Args:
        image: (N, C, h, w).
        size: (H, W).
        grid: ``half_pixel``: output pixel d reads at (d + 1/2) h / H - 1/2; ``authors``: at d h / H.

    Returns:
        (N, C, H, W).
    """
    height, width = size
    if tuple(image.shape[-2:]) == (height, width):
        return image
    if grid == 'half_pixel':
        return F.interpolate(image, size=(height, width), mode='bicubic', align_corners=False)
    rows, columns = _unit_positions(image, image.shape[-2], height), _unit_positions(image, image.shape[-1], width)
    positions = torch.stack(torch.meshgrid(columns, rows, indexing='xy'), -1)
    positions = positions.expand(image.shape[0], -1, -1, -1)
    return F.grid_sample(image, positions, mode='bicubic', padding_mode='border', align_corners=False)


def _unit_positions(like: Tensor, length: int, wanted: int) -> Tensor:
    """Positions d * length / wanted in the [-1, 1] coordinates of `grid_sample` (align_corners=False)."""
    position = torch.arange(wanted, device=like.device, dtype=like.dtype) * (length / wanted)
    return (2 * position + 1) / length - 1


def _variance_scaling_(weight: Tensor) -> None:
    """Fills with a normal truncated at two standard deviations whose variance is 1 / fan_in (TensorFlow's default)."""
    fan_in = weight[0].numel()
    # a unit normal cut at +-2 has the standard deviation 0.8796...
    deviation = math.sqrt(1 / fan_in) / 0.87962566103423978
    nn.init.trunc_normal_(weight, 0.0, deviation, -2 * deviation, 2 * deviation)


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias
