"""Entries of the Parts pages, each a section with fixed fields, and the table of all parts, made from them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PLACE = '{{ parts }}'
FOLDER = Path(__file__).resolve().parents[1] / 'parts'
PAGES = ('models', 'losses', 'networks', 'metrics', 'degradation')
FIELDS = ('Source', 'Agreement', 'Differences')
SECTION = re.compile(r'^## (.+)\n((?:(?!^## ).*\n?)*)', re.MULTILINE)


@dataclass(frozen=True)
class Entry:
    """One part: the page it stands on, its heading with the names of its option `type` in code, and its text."""

    page: str
    heading: str
    text: str

    @property
    def title(self) -> str:
        """The heading without the names."""
        return self.heading.partition(':')[0]

    @property
    def types(self) -> list[str]:
        """What an option file calls it."""
        return re.findall(r'`([\w ]+)`', self.heading)

    def field(self, name: str) -> str:
        """The text after ``*Name:*``, in one line; empty where there is none."""
        found = re.search(rf'^- \*{name}:\* (.+?)(?=\n- |\n\n|\Z)', self.text, re.DOTALL | re.MULTILINE)
        return ' '.join(found[1].split()) if found else ''


def entries() -> list[Entry]:
    """All entries, in the order of the pages."""
    texts = {page: (FOLDER / f'{page}.md').read_text(encoding='utf-8') for page in PAGES}
    return [Entry(page, *section) for page, text in texts.items() for section in SECTION.findall(text)]


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Puts the table in its place; other pages stay as they are."""
    return markdown.replace(PLACE, _table()) if PLACE in markdown else markdown


def _table() -> str:
    rows = ['| part | option `type` | source | agreement |', '|---|---|---|---|']
    for entry in entries():
        types = ', '.join(f'`{name}`' for name in entry.types)
        rows.append(f'| [{entry.title}]({entry.page}.md#{_anchor(entry.heading)}) | {types} | {_cells(entry)} |')
    return '\n'.join(rows)


def _cells(entry: Entry) -> str:
    return ' | '.join(entry.field(name).replace('|', r'\|') for name in FIELDS[:2])


def _anchor(heading: str) -> str:
    from markdown.extensions.toc import slugify

    return slugify(heading.replace('`', ''), '-')
