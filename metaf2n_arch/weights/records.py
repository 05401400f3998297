"""Training record: how a weights file was trained, as a dictionary of plain values in the same file.

The tensors do not show whether a generator was meta-trained, and with which step size. So training and
`metaf2n weights convert` write it into the file, under a key that BasicSR, spandrel and chaiNNer ignore.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.weights.plain import check_plain, shortened

RECORD = 'metaf2n_training'
"""Key of the record in a .pth file, and in the metadata of a .safetensors file, in which it is JSON."""


class TrainingRecord(BaseModel):
    """How a generator and its MaskNet were trained (Yin et al., ICCV 2023, section 3).

    None means that the training did not have it, or that it is not known. Keys of later versions are ignored.

    >>> TrainingRecord(model='GANSRModel', scale=4).meta_trained
    False
    """

    model_config = ConfigDict(frozen=True, extra='ignore', use_attribute_docstrings=True, protected_namespaces=())

    model: str | None = None
    """`model_type` of the training: ``MetaF2NModel``, ``GANSRModel``."""
    scale: int | None = Field(None, ge=1)
    """Upscaling factor: side of the output divided by side of the input."""
    iteration: int | None = Field(None, ge=0)
    """Number of training iterations; 0 if nothing was trained."""
    inner_lr: float | Literal['learned'] | None = None
    """Step size α of the inner loop; ``learned``: one for each tensor, in the same file; None: no inner loop."""
    inner_steps: int | None = Field(None, ge=1)
    """Number K of steps of the inner loop."""
    mode: str | None = None
    """Gradient through the inner loop: ``second``, ``first_mask`` or ``first``."""
    adapt_only: tuple[str, ...] | None = Field(None, validation_alias=AliasChoices('adapt_only', 'adapted'))
    """Patterns of the names of the tensors that the inner loop changes; None: all. In older files: ``adapted``."""
    patches: int | None = Field(None, ge=1)
    """Number of random patches per face in the inner loop."""
    patch_size: int | None = Field(None, ge=1)
    """Side of these patches, in high-resolution pixels."""
    restorer: str | None = None
    """Face restorer in training, for example ``gpen 256``; None: training used the true faces."""
    mask_upsample: str | None = None
    """Upsampling of the low-quality face in MaskNet: ``half_pixel`` or ``authors``; None: no MaskNet."""
    color_fix: str | None = None
    """Colour fix inside the generator in training; None: no colour fix."""
    color_fix_sigma: float | None = Field(None, gt=0)
    """Standard deviation of the colour fix ``lowfreq`` in low-quality pixels; None: several bands are mixed."""
    program: str | None = None
    """Program that wrote the file, and its version."""

    @property
    def meta_trained(self) -> bool:
        """Whether the generator was meta-trained: trained at all, with an inner loop of a step size other than 0."""
        return self.inner_lr is not None and self.inner_lr != 0 and self.iteration != 0

    def plain(self) -> dict[str, Any]:
        """The record as a dictionary of numbers, texts and lists, without values that are None."""
        return self.model_dump(mode='json', exclude_none=True)


def training_record(path: str | Path) -> TrainingRecord | None:
    """Reads the training record of a .pth or .safetensors file.

    Args:
        path: a file, or a name from ``metaf2n weights list``.

    Returns:
        The record; None if the file has none, as files of other programs.

    Raises:
        DataError: there is no such file, or the file or its record is damaged.
    """
    from metaf2n_arch.weights.files import read_checkpoint, read_metadata
    from metaf2n_arch.weights.search import locate

    path = locate(path)
    if path.suffix == '.safetensors':
        return record_in(read_metadata(path), path)
    return record_in(read_checkpoint(path), path)


def record_in(content: Any, path: str | Path) -> TrainingRecord | None:
    """The training record in the content of a .pth file, or in the metadata of a .safetensors file; None without one.

    Raises:
        DataError: the record is damaged.
    """
    found = content.get(RECORD) if isinstance(content, Mapping) else None
    if found is None:
        return None
    try:
        if isinstance(found, str):
            found = json.loads(found)
        check_plain(found, path, 'its training record')
        return TrainingRecord.model_validate(found)
    except (ValueError, ValidationError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        reason = _reason(error) if isinstance(error, ValidationError) else 'no JSON'
        raise DataError(f'{path}: its training record ({RECORD}) is damaged: {reason}. Take another file.') from None


def _reason(error: ValidationError) -> str:
    first = error.errors()[0]
    place = '.'.join(str(part) for part in first['loc']) or 'the whole'
    return f'{place} is {shortened(first["input"])}: {first["msg"].lower()}'
