"""The table of repairs on the page of the bridge, made from the list that the bridge works by."""

from __future__ import annotations

from typing import Any

PLACE = '{{ repairs }}'


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Puts the table in its place; other pages stay as they are."""
    return markdown.replace(PLACE, _table()) if PLACE in markdown else markdown


def _table() -> str:
    from metaf2n_arch.bridge.host import REPAIRS

    rows = [f'| `{item.name}` | {item.circle} | `{item.module}` | {item.why} |' for item in REPAIRS]
    return '\n'.join(['| repair | for whom | module | BasicSR by itself |', '|---|---|---|---|', *rows])
