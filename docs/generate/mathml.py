"""Equations: LaTeX between dollar signs becomes MathML while the site is built, so that no script draws it later."""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
BLOCK = re.compile(r'<div class="arithmatex">\\\[(.*?)\\\]</div>', re.DOTALL)


def on_page_content(content: str, **_: Any) -> str:
    """Replaces every equation of a page."""
    content = BLOCK.sub(lambda match: f'<div class="equation">{_mathml(match, "block")}</div>', content)
    return INLINE.sub(lambda match: _mathml(match, 'inline'), content)


def _mathml(match: re.Match[str], display: str) -> str:
    return convert(html.unescape(match.group(1)).strip(), display=display)
