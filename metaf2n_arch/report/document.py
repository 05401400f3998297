"""Document of a report: written as Markdown with figures in files, and as one HTML file with embedded figures."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from metaf2n_arch.report.plain import markdown_text
from metaf2n_arch.utils.files import write_whole

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem;color:#1c1c1c}
h1{font-size:1.7rem}h2{font-size:1.3rem;margin-top:2.4rem;border-bottom:1px solid #ddd}h3{font-size:1.05rem}
table{border-collapse:collapse;margin:1rem 0;font-size:.92rem}th,td{padding:.3rem .7rem;border-bottom:1px solid #e3e3e3}
th{text-align:left;background:#f6f6f6}td.n{text-align:right;font-variant-numeric:tabular-nums}
tr.ours{background:#eef5ff}img{max-width:100%;height:auto}figure{margin:1.2rem 0}figcaption{color:#555;font-size:.9rem}
"""


@dataclass(frozen=True)
class Heading:
    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Grid:
    """A table; `ours` are the indices of the rows that were measured here, which HTML highlights."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    ours: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Picture:
    """A PNG file and its caption."""

    path: Path
    caption: str


Block = Heading | Paragraph | Grid | Picture


@dataclass
class Document:
    """Blocks in reading order."""

    title: str
    blocks: list[Block] = field(default_factory=list)

    def add(self, *blocks: Block) -> None:
        self.blocks.extend(blocks)

    def markdown(self, folder: Path) -> str:
        """Returns the document as Markdown; paths of pictures are relative to `folder`."""
        parts = [f'# {markdown_text(self.title)}', *(_markdown(block, folder) for block in self.blocks)]
        return '\n\n'.join(parts) + '\n'

    def html(self) -> str:
        """Returns the document as an HTML page with embedded pictures."""
        title = html.escape(self.title)
        body = '\n'.join(_html(block) for block in self.blocks)
        return (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n'
            f'<body><h1>{title}</h1>\n{body}\n</body></html>\n'
        )

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Writes ``report.md`` and ``report.html`` and returns their paths; an error leaves no partial file."""
        markdown, page = folder / 'report.md', folder / 'report.html'
        write_whole(markdown, self.markdown(folder))
        write_whole(page, self.html())
        return markdown, page


def is_number(cell: str) -> bool:
    """Whether a cell is a number or a dash, and is aligned to the right."""
    try:
        float(cell.split(' ')[0])
    except ValueError:
        return cell == '-'
    return True


def _markdown(block: Block, folder: Path) -> str:
    if isinstance(block, Heading):
        return f'{"#" * block.level} {markdown_text(block.text)}'
    if isinstance(block, Paragraph):
        return markdown_text(block.text)
    if isinstance(block, Picture):
        target = quote(Path(os.path.relpath(block.path, folder)).as_posix())
        caption = markdown_text(block.caption)
        return f'![{caption}]({target})\n\n*{caption}*'
    lines = [block.head, ['---'] * len(block.head), *block.rows]
    return '\n'.join(
        '| ' + ' | '.join(markdown_text(cell).replace('|', '\\|') for cell in line) + ' |' for line in lines
    )


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return f'<h{block.level}>{html.escape(block.text)}</h{block.level}>'
    if isinstance(block, Paragraph):
        return f'<p>{html.escape(block.text)}</p>'
    if isinstance(block, Picture):
        data = base64.b64encode(block.path.read_bytes()).decode()
        caption = html.escape(block.caption)
        return (
            f'<figure><img alt="{caption}" src="data:image/png;base64,{data}">'
            f'<figcaption>{caption}</figcaption></figure>'
        )
    head = ''.join(f'<th>{html.escape(cell)}</th>' for cell in block.head)
    rows = []
    for number, row in enumerate(block.rows):
        cells = ''.join(f'<td{" class=n" if is_number(cell) else ""}>{html.escape(cell)}</td>' for cell in row)
        rows.append(f'<tr{" class=ours" if number in block.ours else ""}>{cells}</tr>')
    return f'<table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
