"""Numbers for messages and tables."""

from __future__ import annotations


def rounded(value: float, digits: int = 4) -> float:
    """Rounds a number for display; a negative number that rounds to 0 becomes 0.0, so that ``-0.00`` is never shown.

    >>> f'{rounded(-1e-9):+.4f}'
    '+0.0000'
    """
    return round(value, digits) + 0.0
