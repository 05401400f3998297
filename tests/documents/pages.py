"""Code and commands in the documents: taken out of their fences."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r'^( *)```(\w+)([^\n]*)\n(.*?)^\1```', re.MULTILINE | re.DOTALL)
DOCUMENTS = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').rglob('*.md'))]


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, the file that its title names, and its text."""

    language: str
    title: str
    text: str

    def commands(self) -> list[str]:
        """The lines of a shell block, without comments."""
        lines = [re.split(r'\s+#\s', line)[0].strip() for line in self.text.splitlines()]
        return [line for line in lines if line and not line.startswith('#')]


def blocks(document: Path) -> list[Block]:
    """All fenced blocks of a document, in order."""
    found = []
    for match in FENCE.finditer(document.read_text(encoding='utf-8')):
        title = re.search(r'title="([^"]+)"', match[3])
        text = re.sub(rf'^{match[1]}', '', match[4], flags=re.MULTILINE)
        found.append(Block(match[2], title[1] if title else '', text))
    return found


def write_titled(document: Path, folder: Path) -> None:
    """Writes each block that has a title into the file of that name."""
    for block in blocks(document):
        if block.title:
            target = folder / block.title
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text, encoding='utf-8')
