"""Configuration of the two-stage degradation: ranges and probabilities, with Real-ESRGAN's numbers as defaults."""

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

    To switch a step off, set its probability (`blur_prob: 0`, `noise_prob: {none: 1}`, `jpeg_prob: 0`,
    `resize_prob: {keep: 1}`). To fix a value, give a range of one value (`sigma: [1.6, 1.6]`).
    """

    blur_prob: Probability = 1.0
    """Probability that the stage blurs at all."""
    kernel_sizes: tuple[int, ...] = tuple(range(7, SIDE + 1, 2))
    """Sides of the kernels in pixels, each equally likely."""
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
    """Probability of upscaling, of downscaling, and of keeping the size."""
    resize_range: PositiveRange = (0.15, 1.5)
    """Range [low, high] of the resize factor: downscaling draws from [low, 1], upscaling from [1, high]. The factor is
    relative to the full size in stage 1 and to the final size in stage 2.
    """
    resize_mode_prob: dict[ModeName, float] = EQUAL_MODES
    """Probability of each interpolation."""
    noise_prob: dict[NoiseName, float] = {'gaussian': 0.5, 'poisson': 0.5}
    """Probability of each kind of noise, `none` included."""
    gaussian_sigma: NonNegativeRange = (1.0, 30.0)
    """Standard deviation of Gaussian noise, on the scale 0 to 255."""
    poisson_scale: NonNegativeRange = (0.05, 3.0)
    """Factor on Poisson noise."""
    speckle_sigma: NonNegativeRange = (5.0, 40.0)
    """Standard deviation of speckle noise at white, on the scale 0 to 255; it is proportional to the pixel's value."""
    gray_prob: Probability = 0.4
    """Probability of grey noise, the same in all three channels."""
    halo_prob: Probability = 0.0
    """Probability of over-sharpening, after the noise."""
    halo_strength: NonNegativeRange = (0.5, 2.0)
    """Amount of unsharp masking."""
    halo_sigma: PositiveRange = (0.5, 2.0)
    """Standard deviation of the Gaussian that makes the halo, pixels."""
    dither_prob: dict[DitherName, float] = {'none': 1.0}
    """Probability of each kind of dithering, `none` included; dithering comes before the compression."""
    dither_levels: LevelRange = (4, 32)
    """Number of levels of a channel (`ordered`) or of colours in the palette (`floyd_steinberg`)."""
    jpeg_prob: Probability = 1.0
    """Probability of compression; by JPEG, or by the codecs of `compression_prob`."""
    compression_prob: dict[CodecName, float] = {'jpeg': 1.0}
    """Probability of each codec, if the image is compressed; video codecs need the extra `video`."""
    jpeg_quality: QualityRange = (30, 95)
    """JPEG quality, drawn among the integers of the range."""
    webp_quality: QualityRange = (30, 95)
    """WebP quality, drawn among the integers of the range."""
    avif_quality: QualityRange = (20, 90)
    """AVIF quality, drawn among the integers of the range."""
    mpeg_quantiser: QuantiserRange = (2, 20)
    """Quantiser of MPEG-2 and MPEG-4, drawn among the integers of the range; less is better."""
    video_crf: CrfRange = (18, 38)
    """Constant rate factor of H.264 and HEVC, drawn among the integers of the range; less is better."""

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
            raise ValueError(
                f'resize_range {list(self.resize_range)} starts above 1, but resize_prob has down above 0; '
                'start the range at 1 or less, or set down to 0'
            )
        if self.resize_prob.get('up', 0) > 0 and high < 1:
            raise ValueError(
                f'resize_range {list(self.resize_range)} ends below 1, but resize_prob has up above 0; '
                'end the range at 1 or more, or set up to 0'
            )
        return self


class Stage2Config(StageConfig):
    """The second stage, with milder defaults. Its JPEG comes before or after the final resize and sinc filter."""

    blur_prob: Probability = 0.8
    """Probability that the stage blurs at all."""
    sigma: PositiveRange = (0.2, 1.5)
    """Standard deviation of the kernels, pixels."""
    resize_prob: dict[ResizeName, float] = {'up': 0.3, 'down': 0.4, 'keep': 0.3}
    """Probability of upscaling, of downscaling, and of keeping the size."""
    resize_range: PositiveRange = (0.3, 1.2)
    """Range of the resize factor as in stage 1, relative to the final size."""
    gaussian_sigma: NonNegativeRange = (1.0, 25.0)
    """Standard deviation of Gaussian noise, on the scale 0 to 255."""
    poisson_scale: NonNegativeRange = (0.05, 2.5)
    """Factor on Poisson noise."""


class DegradationConfig(Strict):
    """The two-stage degradation of Real-ESRGAN (Wang et al. 2021, arXiv 2107.10833), as ranges to draw from.

    Differences from BasicSR's program:

    - JPEG agrees with libjpeg to about 50 dB, BasicSR's DiffJPEG to 35-40. Its quality is an integer, the same for all
      images of a draw.
    - Interpolation gets the size of the result, not the factor, so that a fractional size does not shift the image
      against its ground truth.
    - Grey noise differs between images.

    For the same draws the degraded image is on average 0.3 dB closer to the ground truth.

    >>> config = DegradationConfig(scale=2)
    >>> params = config.sample(np.random.default_rng(0))
    >>> len(params.stages), tuple(params.stages[0].kernel.shape)
    (2, (21, 21))
    """

    scale: int = Field(default=4, ge=1)
    """Scale: side of the clean image / side of the degraded image."""
    stage1: StageConfig = StageConfig()
    """First stage, at the size of the clean image."""
    stage2: Stage2Config = Stage2Config()
    """Second stage, which ends near the final size."""
    final_sinc_prob: Probability = 0.8
    """Probability of a sinc filter at the final size."""
    final_mode_prob: dict[ModeName, float] = EQUAL_MODES
    """Interpolation to the final size."""
    jpeg_last_prob: Probability = 0.5
    """Probability that the JPEG of stage 2 comes after the final resize and sinc filter, not before."""
    noise_per: Literal['image', 'task'] = 'image'
    """`image`: each image of a draw has its own noise strength (the authors); `task`: all share one."""

    light: PositiveRange = (1.0, 1.0)
    """Range of the gains of R, G and B, one draw each, applied first: light of any colour; [1, 1] changes nothing."""

    _sums = field_validator('final_mode_prob')(_sums_to_one)

    @classmethod
    def out_of_distribution(cls, scale: int = 4) -> DegradationConfig:
        """Returns the `ood` family, which the defaults never draw: motion and defocus blur, speckle, two strong JPEGs.

        It models a shaken or unfocused photo, with the noise of a coherent or gain-limited sensor, compressed twice.
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
            size: (H, W) of the images it will be applied to, if known; it is checked here.

        Raises:
            ValueError: `size` is not divisible by `scale`.
        """
        params = draw_degradation(self, rng)
        if size is not None:
            params.output_size(*size)
        return params
