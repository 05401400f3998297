"""Screen of the doctor: plain text to paste into an issue, in which ``~`` stands for the user's home folder."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from metaf2n_arch import __version__
from metaf2n_arch.doctor import machine, software
from metaf2n_arch.doctor.commands import COMMANDS, Command, weights_here
from metaf2n_arch.weights.search import folders, is_published, table


def examine(further: Sequence[Command] = ()) -> Generator[str, None, bool]:
    """Yields the lines of the screen, the quick ones first.

    Args:
        further: commands to list besides `COMMANDS`, such as training with an option file.

    Returns:
        Whether there are no problems, as the value of the generator.
    """
    torch = machine.begin('metaf2n_arch.doctor.machine')
    bridge = machine.begin('metaf2n_arch.bridge', '--brief')
    try:
        wrong = software.problems()
        yield f'MetaF2N for BasicSR {__version__}; {machine.system()}'
        versions = {name: software.version(name) for name in software.SHOWN}
        yield from _filled('packages', [f'{name} {found or "missing"}' for name, found in versions.items()])
        yield from _weights()
        yield from _commands((*COMMANDS, *further))
        fine, lines = machine.result(torch)
        if fine:
            yield from _filled('devices', machine.devices(json.loads(lines[-1])))
        else:
            wrong.append(f'torch cannot be imported: {lines[-1]}')
        fine, lines = machine.result(bridge)
        yield from _filled('bridge', [*lines, *_start_up()])
        if not fine:
            wrong.append('the bridge has failed, see above; for all details run: python -m metaf2n_arch.bridge')
    finally:
        for child in (torch, bridge):
            child.kill()
            child.communicate()
    yield from _filled('notes', software.notes())
    yield from _filled('problems', wrong or ['none'])
    return not wrong


def _start_up() -> list[str]:
    """A line if this interpreter has not run the start-up file ``metaf2n_bridge.pth``; empty if it has."""
    if os.environ.get('METAF2N_BRIDGE') == '0' or any(type(f).__name__ == 'BridgeFinder' for f in sys.meta_path):
        return []
    return ['metaf2n_bridge.pth has not run in this Python, so BasicSR cannot use this package; install it again']


def _weights() -> Iterator[str]:
    verified = {True: '', False: ' (another file of that name)', None: ' (not verified)'}
    here = [(place.parent, name + verified[is_published(place, table()[name])]) for name, place in weights_here()]
    for folder, files in groupby(sorted(here), key=lambda pair: pair[0]):
        yield from _filled('weights', [f'{_short(folder)}:', *(name for _, name in files)])
    if not here:
        yield from _filled('weights', [f'none found; the first folder searched is {_short(next(folders()))}'])


def _commands(commands: Iterable[Command]) -> Iterator[str]:
    """All commands that can run in one entry, then one line for each other command with what is missing."""
    lacking = {command.name: command.remedies() for command in commands}
    yield from _filled('can run', [name for name, remedies in lacking.items() if not remedies])
    for name, remedies in lacking.items():
        if remedies:
            yield f'  {name}: {"; ".join(remedies)}'


def _filled(label: str, items: Sequence[str]) -> Iterator[str]:
    """A label and its items, wrapped to lines of at most 100 characters."""
    if not items:
        return
    line = f'{label + ":":<10}'
    for number, item in enumerate(items):
        piece = item if item.endswith(':') or number == len(items) - 1 else f'{item},'
        if len(line) + len(piece) > 100 and line.strip() not in ('', f'{label}:'):
            yield line.rstrip()
            line = ' ' * 10
        line += f'{piece} '
    yield line.rstrip()


def _short(path: Path) -> str:
    home = str(Path.home())
    text = str(path)
    return '~' + text.removeprefix(home) if text.startswith(home) else text
