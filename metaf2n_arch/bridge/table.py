"""The table of repairs: which module of BasicSR each one watches, for whom it is, and whether it was needed there."""

from __future__ import annotations

import os
from types import ModuleType

from metaf2n_arch.bridge import patching
from metaf2n_arch.bridge.host import REPAIRS
from metaf2n_arch.bridge.voice import described, say

SKIP = 'METAF2N_BRIDGE_SKIP'
"""Names repairs to leave out, with commas."""


def skipped() -> set[str]:
    """Returns the names that the environment says to leave out."""
    return {name.strip() for name in os.environ.get(SKIP, '').split(',') if name.strip()}


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
    return '\n'.join(lines)
