"""The two circles: what the bridge does for everybody, and what it does for runs of ours alone.

Whoever does not name a part of ours, and does not ask, gets the host as it is; see `patching.Repair.circle`. Which kind
of run this is, is decided when the stock runner has read its option file (see `decision`). Until then, and in programs
that never start the runner, only models of ours get everything.
"""

from __future__ import annotations

import multiprocessing
import os
from typing import Any

SWITCH = 'METAF2N_BRIDGE'
"""``0`` turns the bridge off, ``all`` makes every run one of ours; ``1`` is as if it were not there."""
SKIP = 'METAF2N_BRIDGE_SKIP'
"""Names repairs to leave out, with commas."""
RUN = 'METAF2N_BRIDGE_RUN'
"""Tells the workers of a process that its run is one of ours: the number of that process."""

_state: dict[str, Any] = {}


def decide(ours: bool, why: str) -> None:
    """Notes what kind of run this process and its workers are of, and why."""
    _state.update(ours=ours, why=why)
    if ours:
        os.environ[RUN] = str(os.getpid())
    else:
        os.environ.pop(RUN, None)


def join() -> None:
    """Makes this process one of a run of ours: a worker whose parent says so."""
    _state.update(ours=True, why='it is a worker of such a run')


def forget() -> None:
    """Takes the decision back; the environment counts again."""
    _state.clear()
    os.environ.pop(RUN, None)


def is_ours(*arguments: Any) -> bool:
    """Whether this run is one of ours, or the first argument is an object of a class of ours, or made from one."""
    if not _state:
        _look_around()
    return _state['ours'] or bool(arguments and descends_from_us(type(arguments[0])))


def descends_from_us(part: Any) -> bool:
    """Whether a class is ours or made from one of ours, or a function is ours."""
    family = getattr(part, '__mro__', (part,))
    return any(str(getattr(each, '__module__', '')).startswith('metaf2n_arch.') for each in family)


def skipped() -> set[str]:
    """Returns the names of repairs that the environment says to leave out."""
    return {name.strip() for name in os.environ.get(SKIP, '').split(',') if name.strip()}


def misspelt() -> str | None:
    """What is wrong with `SWITCH`, in a line: somebody who wrote ``false`` wanted something."""
    value = os.environ.get(SWITCH, '')
    if value in ('', '0', '1', 'all'):
        return None
    return f'{SWITCH} is {value!r}, expected 0 (no bridge), all (every run is ours) or nothing, as which it is taken.'


def why() -> str:
    """The reason for the decision, in words."""
    if not _state:
        _look_around()
    return _state['why']


def _look_around() -> None:
    """Decides before any option file is read."""
    parent = multiprocessing.parent_process()
    if os.environ.get(SWITCH) == 'all':
        _state.update(ours=True, why=f'{SWITCH} is all')
    elif parent is not None and os.environ.get(RUN) == str(parent.pid):
        join()
    else:
        _state.update(ours=False, why='no option file that names a part of this package has been read')
