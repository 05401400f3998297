"""Checkpoint of the authors' MetaF2N program (Yin et al. 2023; TensorFlow): conversion into weights files.

The scope MODEL holds the generator, with the names of Real-ESRGAN's files, but slashes in place of dots. The scope Mask
holds MaskNet, as conv1/kernel, conv1/bias, ... Kernels are (height, width, in, out).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metaf2n_arch.utils.checks import DataError, make_folder
from metaf2n_arch.weights.files import OPTIONS, save_atomically
from metaf2n_arch.weights.loading import build_registered
from metaf2n_arch.weights.records import RECORD, TrainingRecord
from metaf2n_arch.weights.tensorflow_checkpoint import Reader, Tensors, find_checkpoint, read_tensors

GENERATOR = {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'scale': 4, 'num_feat': 64, 'num_block': 23}
"""The authors' generator, Real-ESRGAN's."""

MASK = {'type': 'MaskNet', 'upsample': 'authors'}
"""The authors' MaskNet, with the kind of upsampling that it was trained with."""

THEIR_TRAINING = TrainingRecord(
    model='MetaF2N, authors',
    inner_lr=1e-2,
    inner_steps=1,
    mode='second',
    patches=16,
    patch_size=64,
    restorer='gpen 256',
    mask_upsample='authors',
    program='MetaF2N of Yin et al. 2023 (TensorFlow)',
)
"""The inner loop of the authors' program, from the paper and its published settings; it is not in the checkpoint."""

SCOPES = ('MODEL', 'Mask')
WEIGHTS = r'(MODEL|Mask)/(.*/)?(weight|kernel|bias)$'
"""Matches the names of both networks' tensors, but not those of the optimizer's moments (MODEL/.../weight/Adam)."""


@dataclass(frozen=True)
class Conversion:
    """Result of a conversion.

    Attributes:
        generator, mask: paths of the written files.
        tensors: number of tensors in both files.
        moments: number of the optimizer's variables (moments of these tensors), which were left out.
        others: number of other variables, such as those of the discriminator, which were left out.
    """

    generator: Path
    mask: Path
    tensors: int
    moments: int
    others: int

    def __str__(self) -> str:
        return (
            f'{self.generator} and {self.mask}: {self.tensors} tensors converted; left out {self.moments} of the '
            f'optimizer and {self.others} others (discriminator, counters)'
        )


def convert(
    checkpoint: str | Path,
    out: str | Path,
    architecture: Mapping[str, Any] | None = None,
    read: Reader = read_tensors,
) -> Conversion:
    """Converts the authors' checkpoint into ``net_g.pth`` (generator) and ``net_m.pth`` (MaskNet).

    Args:
        checkpoint: see `find_checkpoint`.
        out: folder for the two files; created if it does not exist.
        architecture: option block of the generator; None means the authors' own.
        read: function that reads the variables.

    Raises:
        DataError: there is no such checkpoint, or a tensor is missing, unknown, of another shape or not finite. Nothing
            is written then.
        OptionError: TensorFlow is not installed, or the architecture is wrong.
    """
    path = find_checkpoint(checkpoint)
    with torch.device('meta'):  # only names and shapes are needed
        nets = dict(zip(SCOPES, (build_registered(architecture or GENERATOR), build_registered(MASK))))
    wanted = {_their_name(scope, key): v.shape for scope in SCOPES for key, v in nets[scope].state_dict().items()}
    arrays, others = read(path, WEIGHTS)
    moments = [name for name in others if name.rpartition('/')[0] in wanted]
    unknown = [name for name in others if name.startswith(tuple(f'{s}/' for s in SCOPES)) and name not in moments]
    _check({**arrays, **{name: np.empty(0) for name in unknown}}, wanted, others, path)
    states = {
        scope: {key: _our_tensor(arrays[_their_name(scope, key)]) for key in nets[scope].state_dict()}
        for scope in SCOPES
    }
    out = Path(out).expanduser()
    make_folder(out)
    found = Conversion(out / 'net_g.pth', out / 'net_m.pth', len(wanted), len(moments), len(others) - len(moments))
    record = {RECORD: THEIR_TRAINING.plain()}
    save_atomically({'params': states['Mask'], OPTIONS: nets['Mask'].recorded_options, **record}, found.mask)
    save_atomically({'params': states['MODEL'], **record}, found.generator)
    return found


def _their_name(scope: str, key: str) -> str:
    name = key.replace('.', '/')
    return f'{scope}/{name.replace("weight", "kernel") if scope == "Mask" else name}'


def _our_tensor(array: np.ndarray) -> Tensor:
    """Kernels (height, width, in, out) -> (out, in, height, width); biases are not changed."""
    array = array.astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(array.transpose(3, 2, 0, 1) if array.ndim == 4 else array))


def _check(arrays: Tensors, wanted: Mapping[str, torch.Size], others: list[str], path: Path) -> None:
    """Raises `DataError` unless the arrays are exactly the wanted ones, with their shapes in TensorFlow's layout."""
    shapes = {name: _their_shape(shape) for name, shape in wanted.items()}
    both = [name for name in wanted if name in arrays]
    if not both:
        seen = [*arrays, *others]
        raise DataError(
            f'{path}: no checkpoint of the MetaF2N program: of its {len(seen)} variables ({_first(seen)}) '
            f'none is one of {_first(list(wanted))}; give the file that the authors published.'
        )
    parts = {
        'missing': [name for name in wanted if name not in arrays],
        'unknown': [name for name in arrays if name not in wanted],
        'of another shape': [
            f'{n}: {arrays[n].shape}, expected {shapes[n]}' for n in both if arrays[n].shape != shapes[n]
        ],
        'no floating-point numbers': [name for name in both if arrays[name].dtype.kind != 'f'],
    }
    if not any(parts.values()):
        parts = {'not finite': [name for name in both if not np.isfinite(arrays[name]).all()]}
    found = [f'{len(names)} {what} ({_first(names)})' for what, names in parts.items() if names]
    if found:
        raise DataError(
            f'{path}: not the networks of the MetaF2N program ({len(wanted)} tensors): {", ".join(found)}. Nothing '
            'was written; if the generator has another size, give --architecture.'
        )


def _their_shape(shape: torch.Size) -> tuple[int, ...]:
    return (*shape[2:], shape[1], shape[0]) if len(shape) == 4 else tuple(shape)


def _first(names: list[str], count: int = 3) -> str:
    return ', '.join(names[:count]) + (', …' if len(names) > count else '')
