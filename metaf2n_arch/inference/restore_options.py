"""Options of restoring photos: the step, the faces, the tones, the tiles, the arithmetic."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import Field, field_validator

from metaf2n_arch.functional.methods import ColorFixName
from metaf2n_arch.utils.options import Strict

if TYPE_CHECKING:
    from metaf2n_arch.weights.records import TrainingRecord


class RestoreOptions(Strict):
    """How photos are adapted to and restored.

    What is not given is that with which the weights were trained, where their file says so (`completed`).
    """

    renamed = {'adapted': 'adapt_only'}

    inner_lr: float | Literal['auto'] = 'auto'
    """Step size α of the inner loop; 0.01 in the paper. 0 does not adapt. ``auto`` tries a few on patches that take no
    part in the step, and does not adapt where nothing is gained.
    """
    force_adapt: bool = False
    """Whether a given step size is kept although the loss grows on patches that take no part in the step."""
    color_fix: ColorFixName = 'lowfreq'
    """How the result gets the photo's own tones back: ``lowfreq`` (`low_frequency_fix`), ``wavelet`` (StableSR's), or
    ``none``.
    """
    learned_rates: bool = False
    """Whether to take, instead of `inner_lr`, the rate of each tensor that training with ``inner_lr: learned`` has left
    in the generator's file.
    """
    inner_steps: int = Field(1, ge=0)
    """Steps of the inner loop; 1 in the paper, 0 does not adapt."""
    skip_faces: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Numbers of faces that are left out, counted from 0 from left to right, as `metaf2n restore --list-faces` shows
    them.
    """
    paste_faces: float = Field(0, ge=0, le=1)
    """How much of the restorer's faces is blended into the result: 0 nothing, 1 all."""
    patches: int = Field(16, ge=1)
    """Random patches per face; 16 in the authors' program. At most 32 in all, spread over the faces."""
    patch_size: int = Field(64, ge=4)
    """Side of these patches, in pixels of the restored photo; 64 in the authors' program."""
    adapt_only: tuple[str, ...] | None = None
    """Name patterns of the generator's tensors that may move; all if None."""
    seed: int = Field(0, ge=0)
    """Seed of the patches' places."""
    tile: int = Field(512, ge=0)
    """Longest side, in pixels of the photo, of what the generator is given at once; 0 gives it the whole photo."""
    overlap: int = Field(24, ge=0)
    """Pixels of surroundings that a tile sees beyond what it contributes."""
    precision: Literal['float32', 'bfloat16', 'float16'] = 'float32'
    """Arithmetic of the photo's pass through the generator; the inner loop always runs in float32, because its steps
    are smaller than what half precision resolves.
    """

    @field_validator('inner_lr', mode='before')
    @classmethod
    def _a_rate(cls, value: object) -> object:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value != 'auto' and not (number and 0 <= value < math.inf):  # type: ignore[operator]  # a number by now
            raise ValueError('expected a number from 0 on, or auto')
        return value

    @property
    def adapts(self) -> bool:
        """Whether there is an inner loop at all."""
        return self.inner_steps > 0 and (self.learned_rates or self.inner_lr != 0)

    @property
    def finds_faces(self) -> bool:
        """Whether faces are looked for and restored: to adapt to them, or to paste them."""
        return self.adapts or self.paste_faces > 0

    def completed(self, record: TrainingRecord | None) -> RestoreOptions:
        """With what the weights were trained with, wherever nothing is given.

        ``inner_lr: auto`` stays, and begins at the recorded rate.

        Args:
            record: from the file of the weights; None leaves everything as it is.
        """
        known: dict[str, Any] = {}
        if record is not None and record.color_fix in get_args(ColorFixName):
            known['color_fix'] = record.color_fix
        if record is not None and record.meta_trained:
            names = 'inner_steps', 'patches', 'patch_size', 'adapt_only'
            known |= {name: getattr(record, name) for name in names}
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return RestoreOptions(**{**{name: value for name, value in known.items() if value is not None}, **given})
