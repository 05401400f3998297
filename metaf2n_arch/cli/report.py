"""`metaf2n report`: report of experiments, as Markdown and as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    experiments: Annotated[list[str], typer.Argument(help='Names, or folders below experiments/ or results/.')],
    out: Annotated[Path, typer.Option('--out', '-o', help='Folder to write.')] = Path('report'),
    panels: Annotated[int, typer.Option(min=0, help='Images of each data set to show.')] = 3,
    published: Annotated[
        bool | None,
        typer.Option(
            help='Show published values for data sets of the same name; by default only if the number of images is the '
            'same, too.'
        ),
    ] = None,
) -> None:
    """Write tables, loss curves, side-by-side pictures and spectra that compare experiments."""
    from metaf2n_arch.report.build import build_report

    for path in build_report(experiments, out, panels, published):
        typer.echo(f'Written: {path}')
