"""The table of repairs: which module of BasicSR each one watches, for whom it is, and whether it was needed there."""

from __future__ import annotations

from types import ModuleType

from metaf2n_arch.bridge import patching
from metaf2n_arch.bridge.circle import SKIP, skipped
from metaf2n_arch.bridge.host import REPAIRS
from metaf2n_arch.bridge.voice import described, say
from metaf2n_arch.utils.checks import nearest


def repair(module: ModuleType, late: bool = False) -> None:
    """Applies every repair that watches `module`; one that fails leaves the host as it was and is said in one line.

    Args:
        module: a module of the host that has just run.
        late: whether other modules may hold copies of what is replaced.
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
    """Returns the table as text: state, for whom, name, the host's module, and what the host does by itself."""
    state = {True: 'applied', False: 'not needed', None: 'not reached'}
    rows = [(item.trouble or state[item.applied], item.circle, item.name, item.module, item.why) for item in REPAIRS]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = ['  '.join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[4]]) for row in rows]
    known = [item.name for item in REPAIRS]
    unknown = [f'{SKIP}: there is no repair {name!r}.{nearest(name, known)}' for name in sorted(skipped() - {*known})]
    return '\n'.join([*lines, *unknown])


def brief() -> tuple[bool, str]:
    """Returns whether no repair failed, and how many were applied, for whom, in one line."""
    counts = {who: [item for item in REPAIRS if item.circle == who] for who in ('everybody', 'ours')}
    applied = {who: f'{sum(bool(item.applied) for item in items)} of {len(items)}' for who, items in counts.items()}
    trouble = [f'{item.name} {item.trouble}' for item in REPAIRS if item.trouble]
    line = f'on; repairs applied: {applied["everybody"]} for every run, {applied["ours"]} for runs of this package'
    failed = any(item.trouble.startswith('failed') for item in REPAIRS)
    return not failed, '; '.join([line, *trouble])
