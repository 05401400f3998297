"""Progress callbacks: called with the name of a stage, the steps done, and their number."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called as ``progress(what, done, total)``: the stage (``search``, ``faces``, ``adaptation``, ``tiles``), the steps
done, and their number; ``done`` is 0 when the stage begins. It is called from the thread that does the work.
"""


def silent(what: str, done: int, total: int) -> None:
    """A callback that does nothing."""


def together(progress: Progress, count: int) -> list[Progress]:
    """Returns callbacks for `count` parts that run in parallel; `progress` receives the sums of all parts.

    >>> first, second = together(print, 2)
    >>> first('tiles', 1, 4)
    tiles 1 8
    >>> second('tiles', 2, 4)
    tiles 3 8
    """
    done = [0] * count

    def part(number: int) -> Progress:
        def tell(what: str, now: int, total: int) -> None:
            done[number] = now
            progress(what, sum(done), count * total)

        return tell

    return [part(number) for number in range(count)]
