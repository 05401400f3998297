"""The two circles: what the bridge does for everybody, and what it does for runs of ours alone.

Whoever does not name a part of ours, and does not ask, gets the host as it is; see `table.Repair.circle`. Which kind of
run this is, is decided when the stock runner has read its option file; until then, and in programs that never start the
runner, only models of ours get everything.
"""

from __future__ import annotations

from typing import Any

_state: dict[str, Any] = {'ours': True, 'why': 'no option file has been read'}


def decide(ours: bool, why: str) -> None:
    """Notes what kind of run this process is, and why."""
    _state.update(ours=ours, why=why)


def is_ours(*arguments: Any) -> bool:
    """Whether this run is one of ours, or the first argument is an object of a class of ours."""
    return _state['ours'] or bool(arguments and type(arguments[0]).__module__.startswith('metaf2n_arch.'))


def why() -> str:
    """The reason for the decision, in words."""
    return _state['why']
