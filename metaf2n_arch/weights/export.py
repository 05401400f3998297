"""Export of generators: safetensors with architecture and training record, and ONNX checked against torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from metaf2n_arch.utils.checks import DataError, OptionError, make_folder
from metaf2n_arch.utils.extras import install_command
from metaf2n_arch.utils.files import write_whole
from metaf2n_arch.weights.loading import AnySize, Generator, load_generator
from metaf2n_arch.weights.plain import first_names
from metaf2n_arch.weights.records import RECORD

ARCHITECTURE = 'architecture'
"""Key in the metadata for the network's options as JSON, ``{"type": "RRDBNet", ...}``."""

OPSET = 18
SIZES = ((24, 24), (17, 40), (64, 33))
"""Heights and widths of the inputs on which ONNX is compared with torch; all differ from that used for the export."""

TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2}
"""Largest allowed difference between ONNX and torch, for images in [0, 1], by dtype of the weights."""


@dataclass(frozen=True)
class Exported:
    """Result of an export.

    Attributes:
        path: the written file.
        size: its size in bytes.
        notes: notes for the user.
    """

    path: Path
    size: int
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ', '.join([f'{self.path}: {self.size / 1e6:.1f} MB', *self.notes])


def export(
    weights: str | Path,
    out: str | Path,
    architecture: Mapping[str, Any] | None = None,
    param_key: str | None = None,
    half: bool = False,
    opset: int = OPSET,
) -> Exported:
    """Writes a generator as ``.safetensors`` or ``.onnx``, by the suffix of `out`.

    Args:
        weights: a file, or a name from ``metaf2n weights list``.
        out: the file to write; an error leaves no partial file.
        architecture: option block of the generator; None recognises it from the file.
        param_key: key of the generator in its file, see `load_generator`.
        half: whether to store the weights as float16.
        opset: version of the ONNX operator set.

    Raises:
        DataError: the weights are wrong or beyond the range of float16, or the ONNX network gives other values than
            torch.
        OptionError: another suffix, or a package is not installed.
    """
    out = Path(out).expanduser()
    if out.suffix not in ('.safetensors', '.onnx'):
        raise OptionError(f'{out}: export writes .safetensors or .onnx; give a file name with one of these suffixes.')
    if out.suffix == '.onnx':
        _require_onnx()
    make_folder(out.parent)
    generator = load_generator(weights, architecture, param_key)
    dtype = torch.float16 if half else torch.float32
    net: nn.Module = generator.net.net if isinstance(generator.net, AnySize) else generator.net
    _check_range(net, dtype, weights)
    if out.suffix == '.onnx':
        notes = _write_onnx(net, generator, out, dtype, opset)
    else:
        notes = _write_safetensors(net, generator, out, dtype)
    if generator.record is not None and generator.record.inner_lr == 'learned':
        notes += ('without the learned step sizes: keep the .pth file to adapt with them',)
    return Exported(out, out.stat().st_size, notes)


def metadata_of(generator: Generator) -> dict[str, str]:
    """Metadata of an exported file: architecture, scale and training record, as texts."""
    found = {'format': 'pt', 'scale': str(generator.scale), ARCHITECTURE: json.dumps(dict(generator.architecture))}
    return found if generator.record is None else {**found, RECORD: json.dumps(generator.record.plain())}


def _check_range(net: nn.Module, dtype: torch.dtype, weights: str | Path) -> None:
    largest = torch.finfo(dtype).max
    bad = [name for name, p in net.named_parameters() if p.detach().abs().max() > largest]
    if bad:
        raise DataError(f'{weights}: {first_names(bad)} exceed {largest:.0f}, the range of float16; leave --half out.')


def _write_safetensors(net: nn.Module, generator: Generator, out: Path, dtype: torch.dtype) -> tuple[str, ...]:
    from safetensors.torch import save

    # safetensors cannot write one tensor under two names, so each name gets a copy.
    state: dict[str, Tensor] = {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous().clone()
        for name, tensor in net.state_dict().items()
    }
    write_whole(out, save(state, metadata_of(generator)))
    trained = 'meta-trained' if generator.record and generator.record.meta_trained else 'no record of meta-training'
    return (f'{len(state)} tensors, {str(dtype).removeprefix("torch.")}', trained)


def _require_onnx() -> None:
    from importlib.util import find_spec

    missing = [name for name in ('onnx', 'onnxruntime', 'onnxscript') if find_spec(name) is None]
    if missing:
        raise OptionError(f'ONNX needs the package {missing[0]}; run: {install_command("onnx")}')


def _write_onnx(net: nn.Module, generator: Generator, out: Path, dtype: torch.dtype, opset: int) -> tuple[str, ...]:
    multiple = generator.net.multiple if isinstance(generator.net, AnySize) else 1
    net = net.to(dtype)
    dims = {number: torch.export.Dim.DYNAMIC for number in (0, 2, 3)}
    try:
        program = torch.onnx.export(
            net,
            (torch.rand(2, 3, 32, 64, dtype=dtype),),
            input_names=['lq'],
            output_names=['sr'],
            opset_version=opset,
            dynamic_shapes=(dims,),
            dynamo=True,
            verbose=False,
        )
        assert program is not None  # with dynamo=True a program is returned
        proto = program.model_proto
    except Exception as error:  # networks that ONNX cannot represent raise many kinds of exceptions
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise DataError(f'{out}: torch cannot write this network as ONNX ({reason}); use .safetensors.') from None
    for key, value in metadata_of(generator).items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    content = proto.SerializeToString()
    difference = onnx_difference(content, net, dtype, multiple)
    if not difference <= TOLERANCE[dtype]:
        raise DataError(
            f'{out}: the ONNX network differs from torch by {difference:.2g}, more than {TOLERANCE[dtype]:.2g}; '
            'nothing was written. Try another --opset, or use .safetensors.'
        )
    write_whole(out, content)
    sides = 'any height and width' if multiple == 1 else f'heights and widths that are multiples of {multiple}'
    return f'opset {opset}', sides, f'differs from torch by at most {difference:.1e}'


def onnx_difference(model: bytes, net: nn.Module, dtype: torch.dtype = torch.float32, multiple: int = 1) -> float:
    """Largest absolute difference between the outputs of an ONNX network and torch, for random images in [0, 1].

    Args:
        model: content of the ONNX file.
        net: the same network in torch.
        dtype: dtype of its weights and inputs.
        multiple: sides of inputs are `SIZES`, rounded up to multiples of it. Batches have 1 or 2 images.

    Returns:
        The difference; infinite if the shapes differ.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=['CPUExecutionProvider'])
    random = torch.Generator().manual_seed(0)
    worst = 0.0
    for number, (height, width) in enumerate(SIZES):
        sides = (-(-height // multiple) * multiple, -(-width // multiple) * multiple)
        x = torch.rand(1 + number % 2, 3, *sides, generator=random).to(dtype)
        with torch.no_grad():
            expected = net(x).float()
        found = torch.from_numpy(session.run(None, {'lq': x.numpy()})[0]).float()
        if found.shape != expected.shape:
            return float('inf')
        worst = max(worst, float((found - expected).abs().max()))
    return worst
