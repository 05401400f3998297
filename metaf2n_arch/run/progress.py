"""Progress bar of a training on a terminal: iterations, speed, remaining time, loss, gain of the adaptation."""

from __future__ import annotations

import atexit
import logging
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from metaf2n_arch.utils.numbers import rounded

BEFORE, AFTER = 'l_g_total_unadapted', 'l_g_total'


class SpeedColumn(ProgressColumn):
    """Iterations per second."""

    def render(self, task: Task) -> Text:
        return Text('-- it/s' if task.speed is None else f'{task.speed:.2f} it/s')


class Bar:
    """The progress bar of one training.

    Args:
        name: name of the experiment.
        done: iterations done so far, by the run that is resumed.
        total: iterations of the whole training.
        console: where to draw; by default stderr.
    """

    def __init__(self, name: str, done: int, total: int, console: Console | None = None) -> None:
        columns = [TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), SpeedColumn()]
        columns += [TextColumn('ETA'), TimeRemainingColumn(), TextColumn('{task.fields[losses]}')]
        self.progress = Progress(*columns, console=console or Console(stderr=True))
        self.task = self.progress.add_task(name, completed=done, total=total, losses='')
        self._moved: list[tuple[logging.StreamHandler[Any], Any]] = []

    def start(self) -> None:
        """Shows the bar; lines of the log appear above it."""
        self.progress.start()
        for handler in logging.getLogger('basicsr').handlers:
            if type(handler) is logging.StreamHandler:
                self._moved.append((handler, handler.stream))
                handler.setStream(sys.stderr)
        atexit.register(self.stop)

    def stop(self) -> None:
        for handler, stream in self._moved:
            handler.setStream(stream)
        self._moved.clear()
        self.progress.stop()

    def advance(self, done: int) -> None:
        """Sets the number of iterations that are done."""
        self.progress.update(self.task, completed=done)

    def show(self, values: Mapping[str, Any]) -> None:
        """Shows the loss before and after adaptation, or only the loss if nothing is adapted."""
        losses = ''
        if BEFORE in values and AFTER in values:
            before, after = float(values[BEFORE]), float(values[AFTER])
            losses = f'loss {rounded(before):.4f} → {rounded(after):.4f}, gain {rounded(before - after):+.4f}'
        else:
            found = [name for name in (AFTER, 'l_pix', 'l_total') if name in values]
            losses = f'loss {rounded(float(values[found[0]])):.4f}' if found else ''
        self.progress.update(self.task, losses=losses)


def begin(name: str, done: int, total: int) -> Bar | None:
    """Starts a bar if stderr is a terminal, and returns it; else returns None and leaves the log unchanged."""
    if not sys.stderr.isatty():
        return None
    bar = Bar(name, done, total)
    bar.start()
    return bar
