"""Ranges and probabilities of the two-stage degradation, with Real-ESRGAN's numbers as defaults."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field, field_validator, model_validator

from metaf2n_arch.degradation.codecs import require_encoder
from metaf2n_arch.degradation.params import SIDE, CodecName, DegradationParams, DitherName, ModeName, NoiseName
from metaf2n_arch.degradation.sampling import draw_degradation
from metaf2n_arch.utils.options import Strict


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] <= value[1]:
        raise ValueError('expected a range [low, high] with low <= high')
    return value


def _positive(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] <= 0:
        raise ValueError('expected a range of positive numbers')
    return value


def _sums_to_one(value: dict[str, float]) -> dict[str, float]:
    if any(p < 0 for p in value.values()) or not math.isclose(sum(value.values()), 1.0, abs_tol=1e-6):
        raise ValueError('expected probabilities that are >= 0 and sum to 1')
    return value


Probability = Annotated[float, Field(ge=0, le=1)]
Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
PositiveRange = Annotated[tuple[float, float], AfterValidator(_ordered), AfterValidator(_positive)]
NonNegativeRange = Annotated[
    tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]], AfterValidator(_ordered)
]
Quality = Annotated[int, Field(ge=1, le=100)]
Level = Annotated[int, Field(ge=2, le=256)]
Quantiser = Annotated[int, Field(ge=1, le=31)]
Crf = Annotated[int, Field(ge=1, le=51)]
QualityRange = Annotated[tuple[Quality, Quality], AfterValidator(_ordered)]
LevelRange = Annotated[tuple[Level, Level], AfterValidator(_ordered)]
QuantiserRange = Annotated[tuple[Quantiser, Quantiser], AfterValidator(_ordered)]
CrfRange = Annotated[tuple[Crf, Crf], AfterValidator(_ordered)]
KernelName = Literal[
    'iso',
    'aniso',
    'generalized_iso',
    'generalized_aniso',
    'plateau_iso',
    'plateau_aniso',
    'motion',
    'defocus',
]
ResizeName = Literal['up', 'down', 'keep']
EQUAL_MODES: dict[ModeName, float] = {'area': 1 / 3, 'bilinear': 1 / 3, 'bicubic': 1 / 3}
REAL_ESRGAN_KERNELS: dict[KernelName, float] = {
    'iso': 0.45,
    'aniso': 0.25,
    'generalized_iso': 0.12,
    'generalized_aniso': 0.03,
    'plateau_iso': 0.12,
    'plateau_aniso': 0.03,
}


class StageConfig(Strict):
    """One stage: blur, resize, noise, JPEG. The defaults are Real-ESRGAN's first stage.

    Any step is switched off by its probability (`blur_prob: 0`, `noise_prob: {none: 1}`, `jpeg_prob: 0`,
    `resize_prob: {keep: 1}`) and fixed by a range of one value (`sigma: [1.6, 1.6]`).
    """

    blur_prob: Probability = 1.0
    """Probability that the stage blurs at all."""
    kernel_sizes: tuple[int, ...] = tuple(range(7, SIDE + 1, 2))
    """Kernel sides, each equally likely."""
    kernel_prob: dict[KernelName, float] = REAL_ESRGAN_KERNELS
    """Probability of each kernel family."""
    sinc_prob: Probability = 0.1
    """Probability of a sinc kernel in place of `kernel_prob`."""
    sigma: PositiveRange = (0.2, 3.0)
    """Standard deviation of the kernels, pixels."""
    generalized_beta: PositiveRange = (0.5, 4.0)
    """Exponent of the generalized Gaussian."""
    plateau_beta: PositiveRange = (1.0, 2.0)
    """Exponent of the plateau kernel."""
    motion_length: PositiveRange = (3.0, 15.0)
    """Length of the motion kernel, pixels."""
    defocus_radius: PositiveRange = (1.0, 5.0)
    """Radius of the defocus disk, pixels."""
    resize_prob: dict[ResizeName, float] = {'up': 0.2, 'down': 0.7, 'keep': 0.1}
    """Probability of enlarging, shrinking, keeping the size."""
    resize_range: PositiveRange = (0.15, 1.5)
    """Shrinking draws its factor from [low, 1], enlarging from [1, high]; a factor of the full size in stage 1 and of
    the final size in stage 2.
    """
    resize_mode_prob: dict[ModeName, float] = EQUAL_MODES
    """Probability of each interpolation."""
    noise_prob: dict[NoiseName, float] = {'gaussian': 0.5, 'poisson': 0.5}
    """Probability of each kind of noise, `none` included."""
    gaussian_sigma: NonNegativeRange = (1.0, 30.0)
    """Standard deviation of Gaussian noise, of 255."""
    poisson_scale: NonNegativeRange = (0.05, 3.0)
    """Factor on Poisson noise."""
    speckle_sigma: NonNegativeRange = (5.0, 40.0)
    """Standard deviation of speckle at white, of 255."""
    gray_prob: Probability = 0.4
    """Probability that the three channels share one noise."""
    halo_prob: Probability = 0.0
    """Probability of over-sharpening, after the noise."""
    halo_strength: NonNegativeRange = (0.5, 2.0)
    """Amount of unsharp masking."""
    halo_sigma: PositiveRange = (0.5, 2.0)
    """Standard deviation of the Gaussian that makes the halo, pixels."""
    dither_prob: dict[DitherName, float] = {'none': 1.0}
    """Probability of each dithering, `none` included; it comes before the compression."""
    dither_levels: LevelRange = (4, 32)
    """Levels of a channel (`ordered`) or colours of the palette (`floyd_steinberg`)."""
    jpeg_prob: Probability = 1.0
    """Probability of compression, by JPEG unless `compression_prob` says otherwise."""
    compression_prob: dict[CodecName, float] = {'jpeg': 1.0}
    """Probability of each codec where there is compression; video codecs need the extra `video`."""
    jpeg_quality: QualityRange = (30, 95)
    """JPEG quality, drawn among the integers of the range."""
    webp_quality: QualityRange = (30, 95)
    """WebP quality, drawn likewise."""
    avif_quality: QualityRange = (20, 90)
    """AVIF quality, drawn likewise."""
    mpeg_quantiser: QuantiserRange = (2, 20)
    """Quantiser of MPEG-2 and MPEG-4, drawn likewise; less is better."""
    video_crf: CrfRange = (18, 38)
    """Constant rate factor of H.264 and HEVC, drawn likewise; less is better."""

    _sums = field_validator(
        'kernel_prob', 'resize_prob', 'resize_mode_prob', 'noise_prob', 'dither_prob', 'compression_prob'
    )(_sums_to_one)

    @field_validator('compression_prob')
    @classmethod
    def _encoders_are_there(cls, value: dict[str, float]) -> dict[str, float]:
        for codec, probability in value.items():
            if probability > 0:
                require_encoder(codec)
        return value

    @field_validator('kernel_sizes')
    @classmethod
    def _odd_sides(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or any(side < 1 or side > SIDE or side % 2 == 0 for side in value):
            raise ValueError(f'expected odd kernel sides between 1 and {SIDE}, at least one')
        return value

    @model_validator(mode='after')
    def _range_reaches_its_side(self) -> StageConfig:
        low, high = self.resize_range
        if self.resize_prob.get('down', 0) > 0 and low > 1:
            raise ValueError(f'resize_range {self.resize_range} starts above 1 although resize_prob shrinks')
        if self.resize_prob.get('up', 0) > 0 and high < 1:
            raise ValueError(f'resize_range {self.resize_range} ends below 1 although resize_prob enlarges')
        return self


class Stage2Config(StageConfig):
    """The second stage, milder; its JPEG is the last or the last but one step of all."""

    blur_prob: Probability = 0.8
    """Probability that the stage blurs at all."""
    sigma: PositiveRange = (0.2, 1.5)
    """Standard deviation of the kernels, pixels."""
    resize_prob: dict[ResizeName, float] = {'up': 0.3, 'down': 0.4, 'keep': 0.3}
    """Probability of enlarging, shrinking, keeping the size."""
    resize_range: PositiveRange = (0.3, 1.2)
    """As in stage 1, relative to the final size."""
    gaussian_sigma: NonNegativeRange = (1.0, 25.0)
    """Standard deviation of Gaussian noise, of 255."""
    poisson_scale: NonNegativeRange = (0.05, 2.5)
    """Factor on Poisson noise."""


class DegradationConfig(Strict):
    """The two-stage degradation of Real-ESRGAN (Wang et al. 2021, arXiv 2107.10833), as ranges to draw from.

    Differences from BasicSR's program: JPEG is libjpeg's to about 50 dB, where its DiffJPEG comes to 35-40, and its
    quality is an integer and one for all images of a draw; interpolation is told the size it makes and not the factor,
    so that a fractional size does not shift the image against its truth; grey noise differs between images. Together
    they leave the degraded image 0.3 dB closer to the truth, on average, for the same draws.

    >>> config = DegradationConfig(scale=2)
    >>> params = config.sample(np.random.default_rng(0))
    >>> len(params.stages), tuple(params.stages[0].kernel.shape)
    (2, (21, 21))
    """

    scale: int = Field(default=4, ge=1)
    """Side of the clean image over side of the degraded one."""
    stage1: StageConfig = StageConfig()
    """First stage, at the size of the clean image."""
    stage2: Stage2Config = Stage2Config()
    """Second stage, which ends near the final size."""
    final_sinc_prob: Probability = 0.8
    """Probability of a sinc filter at the final size."""
    final_mode_prob: dict[ModeName, float] = EQUAL_MODES
    """Interpolation to the final size."""
    jpeg_last_prob: Probability = 0.5
    """Probability that JPEG comes after resize and sinc."""
    noise_per: Literal['image', 'task'] = 'image'
    """Whether each image of a draw has its own noise strength (the authors) or all share one."""

    light: PositiveRange = (1.0, 1.0)
    """Gain of each of R, G and B, before all else: light of an unknown colour and strength; (1, 1) leaves it alone."""

    _sums = field_validator('final_mode_prob')(_sums_to_one)

    @classmethod
    def out_of_distribution(cls, scale: int = 4) -> DegradationConfig:
        """Returns the `ood` family, which the defaults never draw: motion and defocus blur, speckle, two low JPEGs.

        It stands for a shaken or unfocused picture of a coherent or gain-limited sensor that was shared twice.
        """
        kernels: dict[KernelName, float] = {'motion': 0.6, 'defocus': 0.4}
        noise: dict[NoiseName, float] = {'speckle': 0.8, 'none': 0.2}
        keep: dict[ResizeName, float] = {'keep': 1.0}
        smooth: dict[ModeName, float] = {'bicubic_antialias': 1.0}
        return cls(
            scale=scale,
            stage1=StageConfig(
                kernel_sizes=(SIDE,), kernel_prob=kernels, sinc_prob=0, resize_prob=keep, noise_prob=noise,
                jpeg_quality=(15, 50),
            ),
            stage2=Stage2Config(blur_prob=0, resize_prob=keep, noise_prob={'none': 1.0}, jpeg_quality=(15, 50)),
            final_sinc_prob=0,
            final_mode_prob=smooth,
            jpeg_last_prob=1,
        )  # fmt: skip

    def sample(self, rng: np.random.Generator, size: tuple[int, int] | None = None) -> DegradationParams:
        """Draws everything that is random in one degradation.

        Args:
            rng: the only source of randomness.
            size: (H, W) of the images it will be applied to, if known, so that a wrong one fails here.

        Raises:
            ValueError: `size` is not divisible by `scale`.
        """
        params = draw_degradation(self, rng)
        if size is not None:
            params.output_size(*size)
        return params
