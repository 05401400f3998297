"""The `metaf2n` command."""

from __future__ import annotations

import io
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from metaf2n_arch import __version__
from metaf2n_arch.cli import doctor, evaluate, export, options, prepare, report, restore, web, weights
from metaf2n_arch.utils.allocator import use_large_pages
from metaf2n_arch.utils.checks import DataError, OptionError

INTERRUPTED = 130
"""Exit code after Ctrl-C, as in shells: 128 + SIGINT."""

app = typer.Typer(
    name='metaf2n',
    help='Blind super-resolution that adapts to each photo from the faces in it, as a plug-in of BasicSR.',
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


app.add_typer(weights.app, name='weights')
app.add_typer(prepare.app, name='prepare')
app.add_typer(options.app, name='options')
app.command()(doctor.doctor)
app.command()(evaluate.evaluate)
app.command()(export.export)
app.command()(report.report)
app.command()(restore.restore)
app.command()(web.web)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option('--version', callback=_version, is_eager=True, help='Show the version and exit.')
    ] = False,
) -> None:
    """Blind super-resolution that adapts to each photo from the faces in it, as a plug-in of BasicSR."""


@app.command()
def demo(
    out: Annotated[str, typer.Option('--out', '-o', help='Folder for the table and the pictures.')] = 'demo',
) -> None:
    """Train a small generator on photographs that come with installed packages, and show what adaptation gains."""
    from metaf2n_arch.report.demo import run_demo

    run_demo(Path(out))


def main() -> None:
    """Entry point. Errors that the user can correct, and Ctrl-C, end in one line without a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a character that the terminal cannot show must not stop a run
            stream.reconfigure(errors='backslashreplace')
    use_large_pages()
    # Our own messages report faulty files, so OpenCV and Pillow are silent here and in child processes.
    os.environ.setdefault('OPENCV_LOG_LEVEL', 'OFF')
    warnings.filterwarnings('ignore', 'Image size .* could be decompression bomb')
    try:
        app()
    except (OptionError, DataError) as error:
        typer.echo(f'metaf2n: {error}', err=True)
        sys.exit(2)
    except SystemExit as leaving:
        if leaving.code == INTERRUPTED:  # Typer prints nothing
            typer.echo('metaf2n: stopped.', err=True)
        raise
