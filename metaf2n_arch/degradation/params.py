"""Degradation draw: every random choice, in a form that can be stacked, stored as JSON and applied again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

ModeName = Literal['area', 'bilinear', 'bicubic', 'bicubic_antialias']
NoiseName = Literal['gaussian', 'poisson', 'speckle', 'none']
MODES: tuple[str, ...] = get_args(ModeName)
NOISES: tuple[str, ...] = get_args(NoiseName)
CodecName = Literal['jpeg', 'webp', 'avif', 'mpeg2', 'mpeg4', 'h264', 'hevc']
DitherName = Literal['none', 'ordered', 'floyd_steinberg']
CODECS: tuple[str, ...] = get_args(CodecName)
DITHERS: tuple[str, ...] = get_args(DitherName)
SIDE = 21
"""Side that every kernel is padded to."""


# Fields that Real-ESRGAN does not have; they are not written to files where they have their default.
BEYOND = ('halo', 'halo_sigma', 'dither', 'levels', 'codec')


@dataclass(frozen=True)
class NoiseParams:
    """Noise of one stage.

    `strength` is the range from which each image's own strength is drawn when the noise is made (see `add_noise`); a
    range of one value gives all images the same strength. Gaussian and speckle noise: the standard deviation on the
    scale 0 to 255; Poisson noise: a factor.
    """

    kind: str
    strength: tuple[float, float]
    gray: bool


@dataclass(frozen=True, eq=False)
class StageParams:
    """Blur kernel (21, 21) float32 (a single 1: no blur), resize factor and mode, noise, JPEG quality (0: none).

    Beyond Real-ESRGAN: `halo`, the strength of unsharp masking (0: none), with a Gaussian of `halo_sigma` pixels;
    dithering to a number of levels or colours; a codec instead of JPEG, on whose scale `quality` then is
    (`codecs.compress`).
    """

    kernel: Tensor
    factor: float
    mode: str
    noise: NoiseParams
    quality: int
    halo: float = 0.0
    halo_sigma: float = 1.0
    dither: str = 'none'
    levels: int = 0
    codec: str = 'jpeg'


@dataclass(frozen=True, eq=False)
class DegradationParams:
    """Everything random in one degradation; nothing in it depends on the size or the number of images.

    Stage 1 resizes by its factor of the full size, stage 2 by its factor of the final size. If `jpeg_last` is True, the
    second JPEG comes after the last resize and the `sinc` filter, else before them. `seed` is the seed of the noise.
    `light` are the gains of red, green and blue before stage 1 (von Kries: light of another colour).
    """

    scale: int
    stages: tuple[StageParams, StageParams]
    sinc: Tensor
    final_mode: str
    jpeg_last: bool
    seed: int
    light: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Returns (H/s, W/s).

        Raises:
            ValueError: the scale does not divide both.
        """
        if height % self.scale or width % self.scale:
            raise ValueError(
                f'images of {height}x{width} cannot be degraded to 1/{self.scale}: both sides must be divisible by'
                f' {self.scale}; crop them to {height - height % self.scale}x{width - width % self.scale}.'
            )
        return height // self.scale, width // self.scale

    def to_tensors(self) -> dict[str, Tensor]:
        """Returns the draw as tensors of fixed keys, shapes and dtypes, which the default collate function stacks.

        `kernels` (3, 21, 21) float32: both stages and sinc. `numbers` (2, 5) float64: factor, strength range, halo and
        its sigma of each stage. `choices` (2, 7) int64: mode, kind of noise, gray, quality, dithering, its levels,
        codec. `final` (4,) int64: scale, mode, jpeg_last, seed. `light` (3,) float64.
        """
        first, second = self.stages
        return {
            'kernels': torch.stack([first.kernel, second.kernel, self.sinc]),
            'numbers': torch.tensor(
                [[s.factor, *s.noise.strength, s.halo, s.halo_sigma] for s in self.stages], dtype=torch.float64
            ),
            'choices': torch.tensor([_choices(s) for s in self.stages], dtype=torch.int64),
            'final': torch.tensor(
                [self.scale, MODES.index(self.final_mode), int(self.jpeg_last), self.seed], dtype=torch.int64
            ),
            'light': torch.tensor(self.light, dtype=torch.float64),
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> DegradationParams:
        """Returns the draw that `to_tensors` wrote, exactly, from any device.

        Raises:
            ValueError: the tensors do not have the shapes of one draw; use `unbatch` for a batch.
        """
        if tensors['kernels'].shape != (3, SIDE, SIDE):
            raise ValueError(
                f'kernels have shape {tuple(tensors["kernels"].shape)}, expected (3, {SIDE}, {SIDE}) of one draw;'
                ' split a batch with DegradationParams.unbatch.'
            )
        kernels = tensors['kernels'].detach().cpu().clone()
        scale, final_mode, jpeg_last, seed = tensors['final'].tolist()
        stages = []
        for kernel, (factor, low, high, *halo), (mode, kind, gray, quality, dither, levels, codec) in zip(
            kernels, tensors['numbers'].tolist(), tensors['choices'].tolist()
        ):
            noise = NoiseParams(NOISES[kind], (low, high), bool(gray))
            beyond = (*halo, DITHERS[dither], levels, CODECS[codec])
            stages.append(StageParams(kernel, factor, MODES[mode], noise, quality, *beyond))
        red, green, blue = tensors['light'].tolist()
        light = (red, green, blue)
        return cls(scale, (stages[0], stages[1]), kernels[2], MODES[final_mode], bool(jpeg_last), seed, light)

    @classmethod
    def unbatch(cls, tensors: Mapping[str, Tensor]) -> list[DegradationParams]:
        """Returns the draws of a batch that a collate function stacked along a new first axis."""
        cpu = {key: value.detach().cpu() for key, value in tensors.items()}
        return [cls.from_tensors({k: v[i] for k, v in cpu.items()}) for i in range(len(cpu['kernels']))]

    def to_dict(self) -> dict[str, Any]:
        """Returns the draw as plain numbers, strings and lists, for JSON; float32 values survive it exactly."""
        return {
            'scale': self.scale,
            'seed': self.seed,
            'stages': [
                {
                    'factor': s.factor,
                    'mode': s.mode,
                    'noise': s.noise.kind,
                    'strength': list(s.noise.strength),
                    'gray': s.noise.gray,
                    'quality': s.quality,
                    'kernel': _trimmed(s.kernel),
                    **{name: getattr(s, name) for name in BEYOND if getattr(s, name) != getattr(StageParams, name)},
                }
                for s in self.stages
            ],
            'sinc': _trimmed(self.sinc),
            'final_mode': self.final_mode,
            'jpeg_last': self.jpeg_last,
            'light': list(self.light),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DegradationParams:
        """Returns the draw that `to_dict` wrote."""
        stages = [
            StageParams(
                kernel=_untrimmed(s['kernel']),
                factor=s['factor'],
                mode=s['mode'],
                noise=NoiseParams(s['noise'], (s['strength'][0], s['strength'][1]), s['gray']),
                quality=s['quality'],
                **{name: s[name] for name in BEYOND if name in s},
            )
            for s in values['stages']
        ]
        sinc = _untrimmed(values['sinc'])
        first, second = stages
        red, green, blue = values.get('light', (1.0, 1.0, 1.0))  # older files have no light
        final = values['final_mode'], values['jpeg_last'], values['seed']
        return cls(values['scale'], (first, second), sinc, *final, (red, green, blue))


def _choices(stage: StageParams) -> list[int]:
    names = MODES.index(stage.mode), NOISES.index(stage.noise.kind)
    beyond = DITHERS.index(stage.dither), stage.levels, CODECS.index(stage.codec)
    return [*names, int(stage.noise.gray), stage.quality, *beyond]


def kernel_margin(kernel: Tensor) -> int:
    """Returns the number of rings of zeros around the kernel's content; 10 for the kernel that changes nothing."""
    filled = kernel.nonzero()
    return min(int(filled.min()), SIDE - 1 - int(filled.max()))


def _trimmed(kernel: Tensor) -> list[list[float]]:
    margin = kernel_margin(kernel)
    return kernel[margin : SIDE - margin, margin : SIDE - margin].tolist()


def _untrimmed(rows: list[list[float]]) -> Tensor:
    kernel = torch.tensor(rows, dtype=torch.float32)
    margin = (SIDE - kernel.shape[0]) // 2
    return torch.nn.functional.pad(kernel, (margin,) * 4)
