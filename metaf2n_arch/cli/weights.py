"""`metaf2n weights`: what can be fetched, fetching it, and where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metaf2n_arch.cli.blocks import network_block

app = typer.Typer(help="Weights: list, fetch, path of published ones; convert the authors' own.", no_args_is_help=True)


@app.command('list')
def list_weights() -> None:
    """List the weights known by name, their size and licence, and which are on this machine."""
    from rich.console import Console
    from rich.table import Column, Table

    from metaf2n_arch.utils.checks import DataError
    from metaf2n_arch.weights.download import locate, table

    # A name that is cut off cannot be given to fetch.
    folded = {name: Column(name, overflow='fold') for name in ('for', 'licence')}
    shown = Table(Column('name', no_wrap=True), folded['for'], Column('MB', no_wrap=True), folded['licence'], 'here')
    for entry in table().values():
        try:
            locate(entry.name)
            here = 'yes'
        except DataError:
            here = '-'
        size = '?' if entry.size is None else f'{entry.size / 1e6:.{int(entry.size < 1e6)}f}'
        shown.add_row(entry.name, entry.purpose, size, entry.licence, here)
    Console().print(shown)


@app.command()
def fetch(names: Annotated[list[str], typer.Argument(help='Names as `metaf2n weights list` shows them.')]) -> None:
    """Download weights into the user's cache (or the folder METAF2N_WEIGHTS), verified where a checksum is known."""
    from metaf2n_arch.weights.download import fetch as fetch_one

    for name in names:
        typer.echo(fetch_one(name))


@app.command()
def path(name: Annotated[str, typer.Argument(help='A name as `metaf2n weights list` shows it.')]) -> None:
    """Print where a weights file is on this machine."""
    from metaf2n_arch.weights.download import locate

    typer.echo(locate(name))


@app.command()
def convert(
    checkpoint: Annotated[
        str, typer.Argument(help='model-100000, one of its files (.index, .meta, .data-*), or their folder.')
    ],
    out: Annotated[Path, typer.Option('--out', '-o', help='Folder for net_g.pth and net_m.pth.')],
    architecture: Annotated[
        str | None, typer.Option(help="Generator, as in `metaf2n restore`; the authors' RRDBNet if not given.")
    ] = None,
) -> None:
    """Turn a checkpoint of the authors' MetaF2N program into weights files; needs TensorFlow (the extra of that name).

    MaskNet's file records the grid it was trained on, so that `metaf2n restore --weights net_g.pth --mask-weights
    net_m.pth` is all it takes; option files name the two as pretrain_network_g and pretrain_network_m.
    """
    from metaf2n_arch.weights.authors_checkpoint import convert as convert_checkpoint

    typer.echo(convert_checkpoint(checkpoint, out, network_block(architecture, 'network_g', '--architecture')))
