"""Progress inside one piece of work: who asks for it is called with what is done, and how much of it."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with a word for what is counted (``search``, ``faces``, ``adaptation``, ``tiles``), how many are done, and of
how many; ``(what, 0, total)`` says that it begins. It is called from the thread that does the work.
"""


def silent(what: str, done: int, total: int) -> None:
    """Nobody asks."""


def together(progress: Progress, count: int) -> list[Progress]:
    """Parts of one piece of work that run side by side: each counts its own, and `progress` hears the sums.

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
