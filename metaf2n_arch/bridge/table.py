"""The table of repairs: which module of BasicSR each one watches, for whom it is, and whether it was needed there."""

from __future__ import annotations

from types import ModuleType

from metaf2n_arch.bridge.host import REPAIRS


def repair(module: ModuleType) -> None:
    """Applies every repair that watches `module`."""
    for item in REPAIRS:
        if item.module == module.__name__:
            item.applied = item.apply(module)


def report() -> str:
    """Returns the table as text: state, name, the host's module, and what the host does by itself."""
    state = {True: 'applied', False: 'not needed', None: 'not reached'}
    rows = [(state[item.applied], item.circle, item.name, item.module, item.why) for item in REPAIRS]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = ['  '.join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[4]]) for row in rows]
    return '\n'.join(lines)
