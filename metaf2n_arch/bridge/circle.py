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
"""``0`` turns the bridge off, ``all`` makes every run one of ours."""
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
    _state.update(ours=True, why='it works for a run of ours')


def forget() -> None:
    """Takes the decision back; the environment counts again."""
    _state.clear()
    os.environ.pop(RUN, None)


def is_ours(*arguments: Any) -> bool:
    """Whether this run is one of ours, or the first argument is an object of a class of ours."""
    if not _state:
        _look_around()
    return _state['ours'] or bool(arguments and type(arguments[0]).__module__.startswith('metaf2n_arch.'))


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
        _state.update(ours=False, why='no option file that names a part of ours has been read')
