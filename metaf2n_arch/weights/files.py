"""Weights files: read without unpickling objects, loaded strictly with one clear error, written atomically."""

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

# Training states contain a Counter, the milestones of a multi-step schedule. Older versions of torch do not allow it.
torch.serialization.add_safe_globals([Counter])

# Matches the errors of torch's restricted unpickler for files that contain objects.
_OBJECT = re.compile(r'unsupported (global|class)|can only (build|create)|unrecognized function', re.IGNORECASE)

GROWTH = 8
"""Largest allowed ratio of the unpacked size to the size of a file; torch stores tensors without compression."""

OPTIONS = 'options'
"""Key in a weights file, besides ``params``, for options of its network that the shapes of the tensors do not show."""


def read_checkpoint(path: str | Path) -> Any:
    """Returns the content of a .pth, .state or .safetensors file, on the CPU. No code in the file is executed.

    Raises:
        DataError: the file is missing, damaged, or contains more than tensors and plain containers.
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
    except Exception as error:  # for damaged files the readers can raise any exception
        reason = str(error)
        if _OBJECT.search(reason):
            name = next(iter(re.findall(r'GLOBAL (\S+)', reason)), 'of a class')
            raise DataError(
                f'{path}: refused, it holds a pickled Python object ({name}), and reading that could execute code; '
                'save it again with tensors, numbers and plain containers only.'
            ) from None
        first = (reason.strip().splitlines() or [type(error).__name__])[0][:160]
        if first.startswith('Weights only load failed'):  # the message of torch is long and meant for programmers
            first = 'not written by torch.save'
        raise DataError(
            f'{path}: cannot be read as a checkpoint, it is damaged or another kind of file ({first}); replace it.'
        ) from None


def _check_sizes(path: Path) -> None:
    """Raises `DataError` if a zip archive, as torch writes it, would unpack to far more than its own size."""
    with open(path, 'rb') as file:
        if file.read(4) != b'PK\x03\x04':
            return
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(item.file_size for item in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return  # reported when the file is read
    if unpacked > GROWTH * path.stat().st_size:
        raise DataError(
            f'{path}: refused, {path.stat().st_size / 1e6:.1f} MB that unpack to {unpacked / 1e6:.0f} MB; torch.save '
            'does not compress, so this is not a weights file; take another file.'
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
    """Returns the state dict in a weights file, on the CPU; see `unwrapped` for the layouts that are known.

    Args:
        path: a .pth or .safetensors file.
        param_key: key of the state dict in the file. BasicSR's files have `params` and `params_ema`. If one of these
            or None is given, and the file does not have it, the state dict is searched.

    Raises:
        DataError: the file cannot be read (see `read_checkpoint`), or has no state dict there, or several.
    """
    return unwrapped(read_checkpoint(path), path, param_key)


def with_recorded(architecture: Mapping[str, Any], path: str | Path, where: str) -> dict[str, Any]:
    """Adds the options that a weights file records (`OPTIONS`) to the option block of its network.

    Args:
        architecture: option block, ``{type: MaskNet, ...}``.
        path: the weights file.
        where: key path of the block, for messages.

    Raises:
        DataError: the file cannot be read.
        OptionError: block and file have different values of an option.
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
    """Loads a weights file into `net`; names and shapes of all tensors must be the same.

    Raises:
        DataError: the file cannot be read, or belongs to another network (the message names the first differences).
    """
    load_strictly(net, load_state_dict(path, param_key), path)


def load_strictly(net: nn.Module, state: Mapping[str, Tensor], path: str | Path) -> None:
    """Loads `state`, read from `path`, into `net`.

    Raises:
        DataError: a tensor is missing, unknown or of another shape, or a parameter is not finite.
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
        f'{", ".join(found)}. Give the weights file of this network, or the options of the network in this file.'
        if found
        else ''
    )


def save_atomically(content: Any, path: str | Path) -> None:
    """Writes `content` with `torch.save`. Even after a crash, `path` is either the old or the complete new file.

    Raises:
        DataError: the file could not be written. The old file is untouched, and no temporary file is left.
    """
    stage(Path(path), lambda file: torch.save(content, file)).publish()
