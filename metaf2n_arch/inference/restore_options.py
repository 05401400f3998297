"""Options of restoring photos: inner loop, faces, colour fix, tiles, precision."""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import Field, ValidationInfo, field_validator

from metaf2n_arch.functional.methods import ColorFixName
from metaf2n_arch.utils.extras import install_command
from metaf2n_arch.utils.options import Strict

if TYPE_CHECKING:
    from metaf2n_arch.weights.records import TrainingRecord


class RestoreOptions(Strict):
    """Options of adapting to photos and restoring them.

    Options that are not given are taken from the training record in the generator's file, if it has one (`completed`).
    """

    renamed = {'adapted': 'adapt_only'}

    inner_lr: float | Literal['auto'] = 'auto'
    """Step size α of the inner loop; 0.01 in the paper. 0 does not adapt. ``auto`` tries several step sizes on held-out
    patches of the faces, and does not adapt if none of them gains. The largest is that of the weights' training, or
    0.003 if they were not meta-trained.
    """
    force_adapt: bool = False
    """Whether to take the step although it fails the checks on other patches of the photo."""
    color_fix: ColorFixName = 'lowfreq'
    """Colour fix, which gives the result the tones of the photo: ``lowfreq`` (`low_frequency_fix`), ``wavelet``
    (StableSR's), or ``none``.
    """
    learned_rates: bool = False
    """Whether to use, instead of `inner_lr`, the learned step size of each tensor in the generator's file, from
    training with ``inner_lr: learned``.
    """
    inner_steps: int = Field(1, ge=0)
    """Steps of the inner loop; 1 in the paper, 0 does not adapt."""
    skip_faces: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Numbers of faces to leave out, counted from 0 from left to right, as `metaf2n restore --list-faces` shows
    them.
    """
    paste_faces: float = Field(0, ge=0, le=1)
    """Weight with which the restored faces are blended into the result, from 0 (not at all) to 1 (fully)."""
    patches: int = Field(16, ge=1)
    """Random patches per face; 16 in the authors' program. At most 32 in all, spread over the faces."""
    patch_size: int = Field(64, ge=4)
    """Side of these patches, in pixels of the restored photo; 64 in the authors' program."""
    adapt_only: tuple[str, ...] | None = None
    """Patterns of the names of the generator's tensors that adaptation may change; None changes all."""
    seed: int = Field(0, ge=0)
    """Seed of the patches' positions."""
    tile: int = Field(512, ge=0)
    """Side of the tiles in which the generator restores the photo, in pixels of the photo; 0 restores it at once."""
    overlap: int = Field(24, ge=0)
    """Surroundings that each tile includes on each side, in pixels of the photo."""
    precision: Literal['float32', 'bfloat16', 'float16'] = 'float32'
    """Number format of the photo's pass through the generator. The inner loop always runs in float32, because half
    precision would round its small steps away.
    """

    backend: Literal['torch', 'ncnn'] = 'torch'
    """What computes the photo's pass through the generator: torch, or on a CPU ncnn (`NcnnNetwork`), which is faster
    and differs by one grey level at most. The inner loop always runs in torch.
    """

    @field_validator('inner_lr', mode='before')
    @classmethod
    def _a_rate(cls, value: object) -> object:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value != 'auto' and not (number and 0 <= value < math.inf):  # type: ignore[operator]  # a number by now
            raise ValueError('expected a number of at least 0, or auto')
        return value

    @field_validator('backend')
    @classmethod
    def _usable(cls, value: str, info: ValidationInfo) -> str:
        if value == 'ncnn' and info.data.get('precision', 'float32') != 'float32':
            raise ValueError(
                f'ncnn computes in float32, and precision is {info.data["precision"]}; leave one of them out'
            )
        if value == 'ncnn' and find_spec('ncnn') is None:
            raise ValueError(f'ncnn is not installed: {install_command("ncnn")}; or take torch')
        return value

    @property
    def adapts(self) -> bool:
        """Whether the inner loop takes a step."""
        return self.inner_steps > 0 and (self.learned_rates or self.inner_lr != 0)

    @property
    def finds_faces(self) -> bool:
        """Whether faces are detected and restored: to adapt to them, or to paste them."""
        return self.adapts or self.paste_faces > 0

    def completed(self, record: TrainingRecord | None) -> RestoreOptions:
        """Returns these options with those that are not given taken from a training record.

        ``inner_lr: auto`` stays, and begins at the recorded step size.

        Args:
            record: training record from the generator's file; None changes nothing.
        """
        known: dict[str, Any] = {}
        if record is not None and record.color_fix in get_args(ColorFixName):
            known['color_fix'] = record.color_fix
        if record is not None and record.meta_trained:
            names = 'inner_steps', 'patches', 'patch_size', 'adapt_only'
            known |= {name: getattr(record, name) for name in names}
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return RestoreOptions(**{**{name: value for name, value in known.items() if value is not None}, **given})
