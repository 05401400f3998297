"""What the commands share: a progress bar, and the summary of what was done and what was skipped."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from metaf2n_arch.data.prepare.driver import Summary

SHOWN = 20


def bar(items: Iterable[Any], total: int, what: str = 'images') -> Iterable[Any]:
    """Passes `items` on under a progress bar, drawn on stderr where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield from progress.track(items, total=total, description=what)


def conclude(summary: Summary, dry_run: bool = False) -> None:
    """Prints what was done and what was skipped and why; ends with exit code 1 if nothing at all could be done."""
    typer.echo(summary.describe(dry_run))
    for reason in list(summary.skipped.values())[:SHOWN]:
        typer.echo(f'  skipped: {reason}')
    if len(summary.skipped) > SHOWN:
        typer.echo(f'  ... and {len(summary.skipped) - SHOWN} more')
    if summary.listed is not None:
        typer.echo(f'  each with its reason: {summary.listed}')
    if summary.useless:
        raise typer.Exit(1)
