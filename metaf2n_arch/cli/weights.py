"""`metaf2n weights`: what can be fetched, fetching it, and where it is."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(help='Published weights by name: list, fetch, path.', no_args_is_help=True)


@app.command('list')
def list_weights() -> None:
    """List the weights known by name, their size and licence, and which are on this machine."""
    from rich.console import Console
    from rich.table import Table

    from metaf2n_arch.utils.checks import DataError
    from metaf2n_arch.utils.download import locate, table

    shown = Table('name', 'for', 'MB', 'licence', 'here')
    for entry in table().values():
        try:
            here = str(locate(entry.name))
        except DataError:
            here = '-'
        size = '?' if entry.size is None else f'{entry.size / 1e6:.0f}'
        shown.add_row(entry.name, entry.purpose, size, entry.licence, here)
    Console().print(shown)


@app.command()
def fetch(names: Annotated[list[str], typer.Argument(help='Names as `metaf2n weights list` shows them.')]) -> None:
    """Download weights into the user's cache (or the folder METAF2N_WEIGHTS), verified where a checksum is known."""
    from metaf2n_arch.utils.download import fetch as fetch_one

    for name in names:
        typer.echo(fetch_one(name))


@app.command()
def path(name: Annotated[str, typer.Argument(help='A name as `metaf2n weights list` shows it.')]) -> None:
    """Print where a weights file is on this machine."""
    from metaf2n_arch.utils.download import locate

    typer.echo(locate(name))
