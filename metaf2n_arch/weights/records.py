"""Training record: how a weights file was trained, as a plain dictionary beside the weights.

Whether a generator was meta-trained, and with which step size, cannot be read off its tensors. Training and
`weights convert` therefore write it into the file, under one key that stock BasicSR, spandrel and chaiNNer pass over.
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
"""The key of the record in a .pth file, and in the metadata of a .safetensors file, where it is JSON."""


class TrainingRecord(BaseModel):
    """How a generator and its MaskNet were trained (Yin et al., ICCV 2023, section 3).

    None stands for what a training did not have, or a file does not say. Keys of later versions are passed over.

    >>> TrainingRecord(model='GANSRModel', scale=4).meta_trained
    False
    """

    model_config = ConfigDict(frozen=True, extra='ignore', use_attribute_docstrings=True, protected_namespaces=())

    model: str | None = None
    """`model_type` of the training: ``MetaF2NModel``, ``GANSRModel``."""
    scale: int | None = Field(None, ge=1)
    """Side of an output over side of its input."""
    iteration: int | None = Field(None, ge=0)
    """Number of training steps; 0 where nothing was trained."""
    inner_lr: float | Literal['learned'] | None = None
    """α, the step size of the inner loop; ``learned``: one for each tensor, in the same file. None: no inner loop."""
    inner_steps: int | None = Field(None, ge=1)
    """K, the number of steps of the inner loop."""
    mode: str | None = None
    """Gradient through the inner loop: ``second``, ``first_mask`` or ``first``."""
    adapt_only: tuple[str, ...] | None = Field(None, validation_alias=AliasChoices('adapt_only', 'adapted'))
    """Name patterns of the tensors that the inner loop moves; None: all. In older files: ``adapted``."""
    patches: int | None = Field(None, ge=1)
    """Random patches of each face that adaptation sees."""
    patch_size: int | None = Field(None, ge=1)
    """Side of such a patch in high-resolution pixels."""
    restorer: str | None = None
    """The face restorer of the training, for example ``gpen 256``; None: the true faces."""
    mask_upsample: str | None = None
    """Grid on which MaskNet enlarges the low-quality face: ``half_pixel`` or ``authors``; None: no MaskNet."""
    color_fix: str | None = None
    """Colour fix inside the generator during training; None: none."""
    color_fix_sigma: float | None = Field(None, gt=0)
    """Standard deviation of the colour fix ``lowfreq`` in low-quality pixels; None: chosen by the noise."""
    program: str | None = None
    """Who wrote the file, with its version."""

    @property
    def meta_trained(self) -> bool:
        """Whether the generator was trained to be adapted: it had an inner loop that moved something."""
        return self.inner_lr is not None and self.inner_lr != 0 and self.iteration != 0

    def plain(self) -> dict[str, Any]:
        """The record as a dictionary of numbers, texts and lists, without what is None."""
        return self.model_dump(mode='json', exclude_none=True)


def training_record(path: str | Path) -> TrainingRecord | None:
    """Reads how a .pth or .safetensors file was trained.

    Args:
        path: a file, or a name of ``metaf2n weights list``.

    Returns:
        None where the file does not say it, as files of other programs.

    Raises:
        DataError: no such file, a damaged one, or a record that is none.
    """
    from metaf2n_arch.weights.files import read_checkpoint, read_metadata
    from metaf2n_arch.weights.search import locate

    path = locate(path)
    if path.suffix == '.safetensors':
        return record_in(read_metadata(path), path)
    return record_in(read_checkpoint(path), path)


def record_in(content: Any, path: str | Path) -> TrainingRecord | None:
    """The record in what a file holds: the dictionary of a .pth file, or the metadata of a .safetensors file.

    Raises:
        DataError: it is no record.
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
