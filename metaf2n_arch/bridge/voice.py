"""Messages of the bridge: one line on stderr where it could not do its work; never an exception, never twice.

Not even where a program has closed its output, or has no command line.
"""

from __future__ import annotations

import contextlib
import os
import sys

_said: set[str] = set()


def say(text: str) -> None:
    """Says a line once, in the first process of a run."""
    line = f'metaf2n_arch: {" ".join(text.split())}'
    if line in _said or os.environ.get('RANK', '0') != '0' or '--multiprocessing-fork' in getattr(sys, 'argv', ()):
        return
    _said.add(line)
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            print(line, file=sys.stderr, flush=True)


def described(error: BaseException) -> str:
    """The kind of an error, and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f'{type(error).__name__}: {lines[0]}' if lines else type(error).__name__
