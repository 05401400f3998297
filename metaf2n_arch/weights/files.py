"""Weights files: read without ever unpickling an object, loaded strictly with one clear error, written atomically."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from metaf2n_arch.utils.checks import DataError, OptionError, nearest

# Counter: milestones of a multi-step schedule inside a training state. Older torch does not know it to be harmless.
torch.serialization.add_safe_globals([Counter])

# How torch's restricted unpickler says that a file holds an object.
_OBJECT = re.compile(r'unsupported (global|class)|can only (build|create)|unrecognized function', re.IGNORECASE)

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


def load_state_dict(path: str | Path, param_key: str | None = 'params_ema') -> dict[str, Tensor]:
    """Returns the state dict in a weights file, on the CPU, without the ``module.`` that DataParallel puts in front.

    Args:
        path: a .pth or .safetensors file. BasicSR's files hold state dicts under `params` and `params_ema`; a file that
            is a bare state dict is taken as it is.
        param_key: which one to take. If the file has no such key, `params` is taken, as BasicSR does; `None` takes the
            file's root.

    Raises:
        DataError: the file cannot be read (see `read_checkpoint`) or holds no state dict there.
    """
    content = read_checkpoint(path)
    if not isinstance(content, Mapping) or not content:
        raise DataError(f'{path}: holds {type(content).__name__}, expected a state dict.')
    bare = _is_state(content)
    place = 'at its root'
    if param_key is not None and not bare:
        key = param_key if param_key in content else 'params'
        place = f"under '{key}'"
        if key not in content:
            known = [str(k) for k in content][:8]
            raise DataError(f"{path}: has no '{param_key}', only {known}.{nearest(param_key, known)} Set param_key.")
        content = content[key]
    if not isinstance(content, Mapping) or not _is_state(content):
        raise DataError(f'{path}: what it holds {place} is no state dict; set param_key to another key.')
    return {name.removeprefix('module.'): value for name, value in content.items()}


def _is_state(content: Mapping[str, Any]) -> bool:
    """Whether all are tensors, but for what `nn.Module.get_extra_state` gave."""
    return all(isinstance(value, Tensor) or str(name).endswith('_extra_state') for name, value in content.items())


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
    for key, value in recorded.items():
        if architecture.get(key, value) != value:
            raise OptionError(
                f'{where}.{key} is {architecture[key]!r}, but the weights in {path} were trained with {value!r}; '
                'remove it, or give other weights.'
            )
    return {**architecture, **recorded}


def load_into(net: nn.Module, path: str | Path, param_key: str | None = 'params_ema') -> None:
    """Loads a weights file into `net`; every tensor must fit.

    Raises:
        DataError: the file cannot be read, or belongs to another network: the first keys that differ, in one line.
    """
    load_strictly(net, load_state_dict(path, param_key), path)


def load_strictly(net: nn.Module, state: Mapping[str, Tensor], path: str | Path) -> None:
    """Loads `state`, read from `path`, into `net`; every tensor must fit, or `DataError` says which do not."""
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
    found = [f'{len(keys)} {what} ({_first(keys)})' for what, keys in parts.items() if keys]
    return (
        f'these are not the weights of the {type(net).__name__} that the options describe ({len(wanted)} tensors): '
        f'{", ".join(found)}. Give the file of this network, or the options of that one.'
        if found
        else ''
    )


def _first(keys: list[str], count: int = 3) -> str:
    return ', '.join(keys[:count]) + (', …' if len(keys) > count else '')


def save_atomically(content: Any, path: str | Path) -> None:
    """Writes `content` with `torch.save` so that `path` holds either the old or the whole new file, even after a crash.

    The temporary file lies in the same folder, under a fixed hidden name, so that one left by a killed process is
    overwritten by the next save.

    Raises:
        DataError: the file could not be written; what `path` held before is untouched and no temporary stays.
    """
    path = Path(path)
    temporary = path.with_name(f'.{path.name}.tmp')
    try:
        with open(temporary, 'wb') as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise DataError(f'{path}: could not be written ({_cause(error)}); free space there, then resume.') from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _cause(error: BaseException | None) -> str:
    """Returns the system's own words where there are any: torch reports a full disk as an unexpected position."""
    last = str(error).splitlines()[0] if str(error) else type(error).__name__
    while error is not None:
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        error = error.__context__
    return last


def _sync_folder(folder: Path) -> None:
    """Makes the rename itself durable, where the system can (not on Windows)."""
    if not hasattr(os, 'O_DIRECTORY'):
        return
    descriptor = os.open(folder, os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
