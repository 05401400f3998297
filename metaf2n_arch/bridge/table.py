"""Table of the repairs: applies them to the modules of BasicSR, and reports their state."""

from __future__ import annotations

from types import ModuleType

from metaf2n_arch.bridge import patching
from metaf2n_arch.bridge.circle import SKIP, skipped
from metaf2n_arch.bridge.host import REPAIRS
from metaf2n_arch.bridge.voice import described, say
from metaf2n_arch.utils.checks import nearest


def repair(module: ModuleType, late: bool = False) -> None:
    """Applies all repairs of `module`. One that fails changes nothing, and prints one line.

    Args:
        module: a module of BasicSR that has just been executed.
        late: whether other modules may already hold copies of the objects that are replaced.
    """
    for item in REPAIRS:
        if item.module != module.__name__:
            continue
        if item.name in skipped():
            item.trouble = f'left out by {SKIP}'
            continue
        try:
            patching.apply(item, module, chase_copies=late)
        except Exception as error:
            item.trouble = f'failed ({described(error)})'
            say(f'the repair {item.name} of {item.module} {item.trouble}; BasicSR stays as it is there.')


def report() -> str:
    """Returns the table as text: state, circle, name, module of BasicSR, and what BasicSR does without the repair."""
    state = {True: 'applied', False: 'not needed', None: 'not imported'}
    rows = [(item.trouble or state[item.applied], item.circle, item.name, item.module, item.why) for item in REPAIRS]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = ['  '.join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[4]]) for row in rows]
    known = [item.name for item in REPAIRS]
    unknown = [f'{SKIP}: there is no repair {name!r}.{nearest(name, known)}' for name in sorted(skipped() - {*known})]
    return '\n'.join([*lines, *unknown])


def brief() -> tuple[bool, str]:
    """Returns whether no repair failed, and one line with the number of applied repairs in each circle."""
    counts = {who: [item for item in REPAIRS if item.circle == who] for who in ('everybody', 'ours')}
    applied = {who: f'{sum(bool(item.applied) for item in items)} of {len(items)}' for who, items in counts.items()}
    trouble = [f'{item.name} {item.trouble}' for item in REPAIRS if item.trouble]
    line = f'on; repairs applied: {applied["everybody"]} for every run, {applied["ours"]} for runs of this package'
    failed = any(item.trouble.startswith('failed') for item in REPAIRS)
    return not failed, '; '.join([line, *trouble])
