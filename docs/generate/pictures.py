"""Pictures of the documents: what each degradation does to a photograph, where each loss pulls, what a band holds.

    python docs/generate/pictures.py          # writes docs/pictures/; a minute on one core, no weights, no network

The photograph is scikit-image's cat (by Stéfan van der Walt, public domain).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from metaf2n_arch.degradation import DegradationConfig, Stage2Config, StageConfig, apply
from metaf2n_arch.images.arrays import to_tensor, to_uint8

FOLDER = Path(__file__).resolve().parents[1] / 'pictures'
NOTHING = {'blur_prob': 0, 'sinc_prob': 0, 'resize_prob': {'keep': 1}, 'noise_prob': {'none': 1}, 'jpeg_prob': 0}
SINGLE = {
    'blur': {'blur_prob': 1, 'kernel_prob': {'iso': 1}, 'sigma': (2.4, 2.4)},
    'motion': {'blur_prob': 1, 'kernel_prob': {'motion': 1}, 'kernel_sizes': (21,), 'motion_length': (14, 14)},
    'defocus': {'blur_prob': 1, 'kernel_prob': {'defocus': 1}, 'kernel_sizes': (21,), 'defocus_radius': (4, 4)},
    'sinc': {'blur_prob': 1, 'sinc_prob': 1, 'kernel_sizes': (21,)},
    'Gaussian noise': {'noise_prob': {'gaussian': 1}, 'gaussian_sigma': (25, 25), 'gray_prob': 0},
    'Poisson noise': {'noise_prob': {'poisson': 1}, 'poisson_scale': (2.5, 2.5), 'gray_prob': 0},
    'speckle': {'noise_prob': {'speckle': 1}, 'speckle_sigma': (40, 40), 'gray_prob': 1},
    'halo': {'halo_prob': 1, 'halo_strength': (2, 2), 'halo_sigma': (1.5, 1.5)},
    'ordered dithering': {'dither_prob': {'ordered': 1}, 'dither_levels': (4, 4)},
    'JPEG 20': {'jpeg_prob': 1, 'jpeg_quality': (20, 20)},
    'WebP 20': {'jpeg_prob': 1, 'compression_prob': {'webp': 1}, 'webp_quality': (20, 20)},
}


def cat(side: int = 160) -> Tensor:
    """The cat's face, (1, 3, side, side) in [0, 1]."""
    from skimage import data

    return to_tensor(data.chelsea()[40 : 40 + side, 140 : 140 + side].copy())[None]


def degradations() -> Iterator[tuple[str, np.ndarray]]:
    """The photograph, each single degradation at full size, and two draws of the whole at a scale of 4."""
    photo = cat()
    yield 'photograph', to_uint8(photo[0])
    torch.manual_seed(0)
    plain = {'scale': 1, 'stage2': Stage2Config(**NOTHING), 'final_sinc_prob': 0, 'jpeg_last_prob': 0}
    for title, kind in SINGLE.items():
        config = DegradationConfig(stage1=StageConfig(**{**NOTHING, **kind}), **plain)
        yield title, to_uint8(apply(photo, config.sample(np.random.default_rng(1)))[0])
    light = DegradationConfig(stage1=StageConfig(**NOTHING), light=(0.6, 1.1), **plain)
    yield 'light', to_uint8(apply(photo, light.sample(np.random.default_rng(3)))[0])
    for title, config in (
        ('a draw: iid', DegradationConfig()),
        ('a draw: ood', DegradationConfig.out_of_distribution()),
    ):
        lq = to_uint8(apply(photo, config.sample(np.random.default_rng(2)))[0])
        yield title, lq.repeat(4, 0).repeat(4, 1)


def pulls() -> Iterator[tuple[str, np.ndarray]]:
    """What each loss asks of a blurred, noisy photograph: its negative gradient, largest change as black or white."""
    from torchvision.transforms.functional import gaussian_blur

    from metaf2n_arch.functional.edges import edge_mask
    from metaf2n_arch.losses.dct_loss import DCTLoss
    from metaf2n_arch.losses.fft_loss import FFTLoss
    from metaf2n_arch.losses.focal_frequency_loss import FocalFrequencyLoss
    from metaf2n_arch.losses.self_similarity import SSLLoss
    from metaf2n_arch.losses.spectral_loss import SpectralLoss

    target = cat(128)
    noise = 0.02 * torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    start = (gaussian_blur(target, [9, 9], [1.4, 1.4]) + noise).clamp(0, 1)
    yield 'restored', to_uint8(start[0])
    yield 'truth', to_uint8(target[0])
    mask = edge_mask(target)[0].float()
    yield "SSL's edge pixels", to_uint8(mask.expand(3, *mask.shape[-2:]))
    losses = {'L1': torch.nn.L1Loss(), 'SSL': SSLLoss(reduction='window'), 'FFT': FFTLoss(), 'DCT': DCTLoss()}
    losses |= {'spectral': SpectralLoss(), 'focal frequency': FocalFrequencyLoss()}
    for title, loss in losses.items():
        pred = start.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(pred, target), pred)
        step = -gradient.mean(1)[0]
        step = 0.5 + 0.5 * step / step.abs().flatten().kthvalue(int(0.995 * step.numel())).values
        yield f'pull of {title}', to_uint8(step.clamp(0, 1).expand(3, *step.shape))


def bands() -> Iterator[tuple[str, np.ndarray]]:
    """The two bands of a photograph, and what a critic is shown in the place of a generated one."""
    from torchvision.transforms.functional import gaussian_blur

    from metaf2n_arch.functional.bands import sinc_low_pass, swap_high_band

    real = cat()
    generated = gaussian_blur(real, [9, 9], [1.6, 1.6])
    low = sinc_low_pass(real, 0.25)
    yield 'real', to_uint8(real[0])
    yield 'its low band', to_uint8(low[0].clamp(0, 1))
    yield 'its high band + 0.5', to_uint8((0.5 + real - low)[0].clamp(0, 1))
    yield 'generated (blurred)', to_uint8(generated[0])
    yield 'what the critic sees', to_uint8(swap_high_band(generated, real, 0.25)[0].clamp(0, 1))


def sheet(panels: Iterator[tuple[str, np.ndarray]], columns: int, target: Path, side: int = 190) -> None:
    """Writes titled panels as one JPEG of a few ten kilobytes."""
    shown = list(panels)
    rows = -(-len(shown) // columns)
    page = Image.new('RGB', (columns * (side + 8) - 8, rows * (side + 26)), 'white')
    draw = ImageDraw.Draw(page)
    for number, (title, pixels) in enumerate(shown):
        left, top = number % columns * (side + 8), number // columns * (side + 26)
        draw.text((left + 2, top + 4), title, 'black', ImageFont.load_default(15))
        page.paste(Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST), (left, top + 24))
    target.parent.mkdir(exist_ok=True)
    page.save(target, quality=82, optimize=True)


if __name__ == '__main__':
    sheet(degradations(), 5, FOLDER / 'degradations.jpg')
    sheet(pulls(), 3, FOLDER / 'losses.jpg', 256)
    sheet(bands(), 5, FOLDER / 'bands.jpg')
