"""Weights files: read without ever unpickling an object, loaded strictly with one clear error, written atomically."""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from metaf2n_arch.utils.checks import DataError, OptionError
from metaf2n_arch.utils.staging import stage
from metaf2n_arch.weights.plain import check_plain, first_names, shortened
from metaf2n_arch.weights.unwrapping import check_finite, unwrapped

# Counter: milestones of a multi-step schedule inside a training state. Older torch does not know it to be harmless.
torch.serialization.add_safe_globals([Counter])

# How torch's restricted unpickler says that a file holds an object.
_OBJECT = re.compile(r'unsupported (global|class)|can only (build|create)|unrecognized function', re.IGNORECASE)

GROWTH = 8
"""How many times its own size a file may take when it is read; torch stores tensors as they are."""

OPTIONS = 'options'
"""Where a weights file holds, beside ``params``, what its network must be built with and no tensor's shape tells."""


def read_checkpoint(path: str | Path) -> Any:
    """Returns what a .pth, .state or .safetensors file holds, on the CPU, with nothing in it executed.

    Raises:
        DataError: the file is missing, damaged, or holds more than tensors and plain containers.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f'{path}: no such file; check the path of the weights.')
    _check_sizes(path)
    try:
        if path.suffix == '.safetensors':
            from safetensors.torch import load_file

            return load_file(path, device='cpu')
        return torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # damaged bytes make the readers raise almost anything
        reason = str(error)
        if _OBJECT.search(reason):
            name = next(iter(re.findall(r'GLOBAL (\S+)', reason)), 'of a class')
            raise DataError(
                f'{path}: refused, it holds a pickled Python object ({name}), and reading that could execute code; '
                'save it again with tensors, numbers and plain containers only.'
            ) from None
        first = (reason.strip().splitlines() or [type(error).__name__])[0][:160]
        if first.startswith('Weights only load failed'):  # what torch says then is for programmers, and long
            first = 'nothing that torch.save has written'
        raise DataError(
            f'{path}: cannot be read as a checkpoint, it is damaged or of another kind ({first}).'
        ) from None


def _check_sizes(path: Path) -> None:
    """Raises `DataError` if a zip archive, as torch writes it, would grow far beyond its own size when it is read."""
    with open(path, 'rb') as file:
        if file.read(4) != b'PK\x03\x04':
            return
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(item.file_size for item in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return  # the reader says what is wrong
    if unpacked > GROWTH * path.stat().st_size:
        raise DataError(
            f'{path}: refused, {path.stat().st_size / 1e6:.1f} MB that unpack to {unpacked / 1e6:.0f} MB; torch.save '
            'compresses nothing, so this is no weights file of a training.'
        )


def read_metadata(path: str | Path) -> dict[str, str]:
    """Returns the metadata of a .safetensors file without reading its tensors.

    Raises:
        DataError: the file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, 'pt') as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise DataError(f'{path}: cannot be read as safetensors ({str(error).splitlines()[0][:160]}).') from None


def load_state_dict(path: str | Path, param_key: str | None = 'params_ema') -> dict[str, Tensor]:
    """Returns the state dict in a weights file, on the CPU, however it is wrapped; see `unwrapped`.

    Args:
        path: a .pth or .safetensors file.
        param_key: where it lies in the file. BasicSR's files hold state dicts under `params` and `params_ema`; where
            one of these, or None, is asked for and is not there, the file's own layout decides.

    Raises:
        DataError: the file cannot be read (see `read_checkpoint`), or holds no state dict there, or several.
    """
    return unwrapped(read_checkpoint(path), path, param_key)


def with_recorded(architecture: Mapping[str, Any], path: str | Path, where: str) -> dict[str, Any]:
    """Adds to a network's option block those that its weights file records beside the weights.

    Args:
        architecture: ``{type: MaskNet, ...}``.
        path: the weights file.
        where: key path of the block, for messages.

    Raises:
        DataError: the file cannot be read.
        OptionError: the block says otherwise than the file.
    """
    content = read_checkpoint(path)
    recorded = content.get(OPTIONS) if isinstance(content, Mapping) else None
    if not isinstance(recorded, Mapping):
        return dict(architecture)
    check_plain(recorded, path, 'its options')
    for key, value in recorded.items():
        if architecture.get(key, value) != value:
            raise OptionError(
                f'{where}.{key} is {architecture[key]!r}, but the weights in {path} were trained with '
                f'{shortened(value)}; remove it, or give other weights.'
            )
    return {**architecture, **recorded}


def load_into(net: nn.Module, path: str | Path, param_key: str | None = 'params_ema') -> None:
    """Loads a weights file into `net`; every tensor must fit.

    Raises:
        DataError: the file cannot be read, or belongs to another network: the first keys that differ, in one line.
    """
    load_strictly(net, load_state_dict(path, param_key), path)


def load_strictly(net: nn.Module, state: Mapping[str, Tensor], path: str | Path) -> None:
    """Loads `state`, read from `path`, into `net`.

    Raises:
        DataError: a tensor does not fit, or a parameter is not finite.
    """
    parameters = {name for name, _ in net.named_parameters()}
    check_finite({name: tensor for name, tensor in state.items() if name in parameters}, path)
    try:
        net.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise DataError(f'{path}: {_difference(net, state) or error}') from None


def _difference(net: nn.Module, state: Mapping[str, Tensor]) -> str:
    wanted = net.state_dict()
    shapes = [
        f'{k}: {tuple(state[k].shape)} in the file, {tuple(wanted[k].shape)} in the network'
        for k in wanted
        if k in state and isinstance(wanted[k], Tensor) and state[k].shape != wanted[k].shape
    ]
    parts = {
        'missing': [k for k in wanted if k not in state],
        'unexpected': [k for k in state if k not in wanted],
        'of another shape': shapes,
    }
    found = [f'{len(keys)} {what} ({first_names(keys)})' for what, keys in parts.items() if keys]
    return (
        f'these are not the weights of the {type(net).__name__} that the options describe ({len(wanted)} tensors): '
        f'{", ".join(found)}. Give the file of this network, or the options of that one.'
        if found
        else ''
    )


def save_atomically(content: Any, path: str | Path) -> None:
    """Writes `content` with `torch.save` so that `path` holds either the old or the whole new file, even after a crash.

    Raises:
        DataError: the file could not be written; what `path` held before is untouched and no temporary stays.
    """
    stage(Path(path), lambda file: torch.save(content, file)).publish()
