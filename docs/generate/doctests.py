"""Docstrings: the examples in them become blocks of code, instead of Markdown's quotations."""

from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r'^>>> .*?(?=\n\s*\n|\Z)', re.DOTALL | re.MULTILINE)


class Doctests(griffe.Extension):
    """Fences every doctest of every docstring."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = EXAMPLE.sub(lambda match: f'```pycon\n{match.group(0)}\n```', obj.docstring.value)
