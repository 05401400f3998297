"""`metaf2n weights`: lists, fetches and locates published weights, and converts the authors' checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from metaf2n_arch.cli.blocks import network_block

if TYPE_CHECKING:
    from metaf2n_arch.weights.published import PublishedFile

app = typer.Typer(
    help="Weights: list, download and find published files; convert the authors' checkpoint.", no_args_is_help=True
)


@app.command('list')
def list_weights() -> None:
    """List the weights known by name: purpose, size, licence, and whether they are on this machine."""
    from rich.console import Console
    from rich.table import Column, Table

    from metaf2n_arch.weights.search import state, table

    # Names are never cut off: users copy them to `metaf2n weights fetch`.
    folded = {name: Column(name, overflow='fold') for name in ('for', 'licence', 'here')}
    shown = Table(
        Column('name', no_wrap=True), folded['for'], Column('MB', no_wrap=True), folded['licence'], folded['here']
    )
    for entry in table().values():
        size = '?' if entry.size is None else f'{entry.size / 1e6:.{int(entry.size < 1e6)}f}'
        shown.add_row(entry.name, entry.purpose, size, entry.licence, state(entry))
    Console().print(shown)


@app.command()
def fetch(
    names: Annotated[list[str] | None, typer.Argument(help='Names as `metaf2n weights list` shows them.')] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option('--for', help='Option file: fetch all weights that it needs; may be given several times.'),
    ] = None,
) -> None:
    """Download weights into the user's cache (or the folder METAF2N_WEIGHTS) and verify known checksums."""
    from metaf2n_arch.utils.checks import OptionError
    from metaf2n_arch.weights.download import fetch as fetch_one
    from metaf2n_arch.weights.search import entry_of

    wanted = {entry_of(name): None for name in names or ()}
    for file in recipe or ():
        wanted.update(_needed(file))
    if not names and not recipe:
        raise OptionError('nothing to fetch; give names of `metaf2n weights list`, or --for an option file.')
    for entry in wanted:
        typer.echo(fetch_one(entry))


def _needed(file: str) -> dict[PublishedFile, None]:
    """The published files that an option file needs. For files that are not published, prints what to do."""
    from metaf2n_arch.cli.blocks import option_file_content
    from metaf2n_arch.weights.needs import needs_of
    from metaf2n_arch.weights.search import table

    known = table()
    found: dict[PublishedFile, None] = {}
    for name, what in needs_of(option_file_content(file, '--for')).all.items():
        if name in known:
            found[known[name]] = None
        elif not Path(name).is_file():
            typer.echo(f'{what}: {name} is not a published file: train it, or put your own file there.', err=True)
    if not found:
        typer.echo(f'{file} needs no published weights.')
    return found


@app.command()
def path(name: Annotated[str, typer.Argument(help='A name as `metaf2n weights list` shows it.')]) -> None:
    """Print where a weights file is on this machine."""
    from metaf2n_arch.weights.search import locate

    typer.echo(locate(name))


@app.command()
def convert(
    checkpoint: Annotated[
        str,
        typer.Argument(help='TensorFlow checkpoint: model-100000, one of its files (.index, ...), or their folder.'),
    ],
    out: Annotated[Path, typer.Option('--out', '-o', help='Folder for net_g.pth and net_m.pth.')],
    architecture: Annotated[
        str | None, typer.Option(help="Generator, as in `metaf2n restore`; the authors' RRDBNet if not given.")
    ] = None,
) -> None:
    """Convert a checkpoint of the authors' MetaF2N program into weights files; needs the extra tensorflow.

    Then run: metaf2n restore --weights net_g.pth --mask-weights net_m.pth. In option files the two files are
    pretrain_network_g and pretrain_network_m. The file of MaskNet records the upsampling that the authors used.
    """
    from metaf2n_arch.weights.authors_checkpoint import convert as convert_checkpoint

    typer.echo(convert_checkpoint(checkpoint, out, network_block(architecture, 'network_g', '--architecture')))
