"""Progress bars of the commands, and the summary of what was done and what was skipped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from metaf2n_arch.data.prepare.driver import Summary

SHOWN = 20


def bar(items: Iterable[Any], total: int, what: str = 'images') -> Iterable[Any]:
    """Yields `items` and shows a progress bar on stderr, if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield from progress.track(items, total=total, description=what)


class PhotoBar:
    """Two progress bars: one counts photos, the other shows the progress inside the current photo.

    If stderr is not a terminal, a plain line is printed now and then instead.

    Args:
        total: number of photos.
        what: label of the first bar.
        every: least number of seconds between two plain lines.
        clock: returns seconds.
    """

    def __init__(self, total: int, what: str, every: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        columns = TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        self._bars = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._photos = self._bars.add_task(what, total=total)
        self._inside = self._bars.add_task('', visible=False)
        self._every, self._clock, self._last = every, clock, clock()

    def track(self, outcomes: Iterable[Any]) -> Iterator[Any]:
        """Yields the outcomes and counts them."""
        with self._bars:
            for outcome in outcomes:
                self._last = self._clock()
                yield outcome
                self._bars.advance(self._photos)

    def inside(self, photo: Path, what: str, done: int, total: int) -> None:
        """Shows the progress inside a photo; `what`, `done` and `total` are the arguments of a `Progress`."""
        if not self._bars.disable:
            name = f'{photo.name}: {what}'
            self._bars.update(self._inside, description=name, completed=done, total=total, visible=total > 1)
        elif self._clock() - self._last >= self._every:
            self._last = self._clock()
            typer.echo(f'{photo}: {what}' + (f' {done} of {total}' if total > 1 else ''), err=True)


def conclude(summary: Summary, dry_run: bool = False) -> None:
    """Prints the summary of a preparation, with the reason for each skipped image.

    Raises:
        typer.Exit: with code 1, if no image could be used.
    """
    typer.echo(summary.describe(dry_run))
    for remark in summary.remarks:
        typer.echo(f'  {remark}')
    for reason in list(summary.skipped.values())[:SHOWN]:
        typer.echo(f'  skipped: {reason}')
    if len(summary.skipped) > SHOWN:
        typer.echo(f'  ... and {len(summary.skipped) - SHOWN} more')
    if summary.listed is not None:
        typer.echo(f'  each with its reason: {summary.listed}')
    if summary.useless:
        raise typer.Exit(1)
