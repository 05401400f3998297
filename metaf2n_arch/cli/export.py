"""`metaf2n export`: writes a generator as safetensors or ONNX, and uploads it to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metaf2n_arch.cli import blocks


def export(
    weights: Annotated[str, typer.Argument(help='Generator: a file, or a name of `metaf2n weights list`.')],
    out: Annotated[Path, typer.Option('--out', '-o', help='File to write; ends in .safetensors or .onnx.')],
    architecture: blocks.Architecture = None,
    param_key: blocks.ParamKey = None,
    half: Annotated[bool, typer.Option('--half', help='Store the weights as float16: half the size.')] = False,
    opset: Annotated[int, typer.Option(min=18, help='Version of the ONNX operator set.')] = 18,
    push: Annotated[
        str | None, typer.Option(help='Also upload the .safetensors file to this repository of the Hugging Face hub.')
    ] = None,
    licence: Annotated[str | None, typer.Option(help='Licence of the weights, for the hub: apache-2.0, ...')] = None,
    private: Annotated[bool, typer.Option('--private', help='Make the repository private, if it is created.')] = False,
) -> None:
    """Write a generator for other programs: safetensors (spandrel, chaiNNer) or ONNX, checked against torch."""
    from metaf2n_arch.utils.checks import OptionError

    if push is not None and (licence is None or out.suffix != '.safetensors'):
        raise OptionError('--push needs --licence LICENCE and --out FILE.safetensors.')
    if half and out.suffix == '.onnx':
        typer.echo('Note: an ONNX file in float16 is slow on a CPU; use it on a GPU.', err=True)
    from metaf2n_arch.weights.export import export as write

    block = blocks.network_block(architecture, 'network_g', '--architecture')
    typer.echo(str(write(weights, out, block, param_key, half, opset)))
    if push is not None and licence is not None:
        from metaf2n_arch.weights.hub import push as put

        typer.echo(put(out, push, licence, private))
