"""Circles of the bridge: repairs for everybody, and repairs only for runs of this package.

A run that names no part of this package, and does not ask for more, gets BasicSR unchanged except for the repairs for
everybody; see `patching.Repair.circle`. The kind of run is decided from the option file of the stock runner (see
`decision`). Before that, and in programs without the runner, only objects of this package's classes get all repairs.
"""

from __future__ import annotations

import multiprocessing
import os
from typing import Any

SWITCH = 'METAF2N_BRIDGE'
"""Environment variable: ``0`` turns the bridge off, ``all`` applies all repairs in every run, ``1`` has no effect."""
SKIP = 'METAF2N_BRIDGE_SKIP'
"""Environment variable: names of repairs to leave out, separated by commas."""
RUN = 'METAF2N_BRIDGE_RUN'
"""Environment variable for workers: number of the process whose run is a run of this package."""

_state: dict[str, Any] = {}


def decide(ours: bool, why: str) -> None:
    """Records for this process and its workers whether the run is one of this package, and why."""
    _state.update(ours=ours, why=why)
    if ours:
        os.environ[RUN] = str(os.getpid())
    else:
        os.environ.pop(RUN, None)


def join() -> None:
    """Records that this process is a worker of a run of this package."""
    _state.update(ours=True, why='it is a worker of such a run')


def forget() -> None:
    """Forgets the decision; the next question is answered from the environment."""
    _state.clear()
    os.environ.pop(RUN, None)


def is_ours(*arguments: Any) -> bool:
    """Whether this run is one of this package, or the first argument is an object of this package's classes."""
    if not _state:
        _look_around()
    return _state['ours'] or bool(arguments and descends_from_us(type(arguments[0])))


def descends_from_us(part: Any) -> bool:
    """Whether a class or function belongs to this package, or a class derives from one of this package."""
    family = getattr(part, '__mro__', (part,))
    return any(str(getattr(each, '__module__', '')).startswith('metaf2n_arch.') for each in family)


def skipped() -> set[str]:
    """Returns the names of the repairs in `SKIP`."""
    return {name.strip() for name in os.environ.get(SKIP, '').split(',') if name.strip()}


def misspelt() -> str | None:
    """Returns one line if the value of `SWITCH` is unknown, for example ``false``; else None."""
    value = os.environ.get(SWITCH, '')
    if value in ('', '0', '1', 'all'):
        return None
    return (
        f'{SWITCH} is {value!r}, expected 0 (bridge off) or all (all repairs in every run); it is ignored. '
        'Correct it or unset it.'
    )


def why() -> str:
    """Returns the reason for the decision, in words."""
    if not _state:
        _look_around()
    return _state['why']


def _look_around() -> None:
    """Decides before an option file is read, from the environment."""
    parent = multiprocessing.parent_process()
    if os.environ.get(SWITCH) == 'all':
        _state.update(ours=True, why=f'{SWITCH} is all')
    elif parent is not None and os.environ.get(RUN) == str(parent.pid):
        join()
    else:
        _state.update(ours=False, why='no option file that names a part of this package has been read')
