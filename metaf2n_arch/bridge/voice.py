"""Messages of the bridge: one line on stderr about a failure; never an exception, and never the same line twice.

It raises nothing even if a program has closed its output or has no command line.
"""

from __future__ import annotations

import contextlib
import os
import sys

_said: set[str] = set()


def say(text: str) -> None:
    """Prints a line to stderr, once, and only in the first process of a run."""
    line = f'metaf2n_arch: {" ".join(text.split())}'
    if line in _said or os.environ.get('RANK', '0') != '0' or '--multiprocessing-fork' in getattr(sys, 'argv', ()):
        return
    _said.add(line)
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            print(line, file=sys.stderr, flush=True)


def described(error: BaseException) -> str:
    """Returns the type of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f'{type(error).__name__}: {lines[0]}' if lines else type(error).__name__
