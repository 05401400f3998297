"""Plain names: makes names from files of other programs safe as a line of text and as a file name."""

from __future__ import annotations

import html
import re
import unicodedata


def plain_path(name: object) -> str:
    """A name as a relative path on one line: no control characters, no ``..``, no root.

    >>> plain_path('../../a\\nb/c.png')
    'a b/c.png'
    """
    text = ''.join(' ' if unicodedata.category(c) in ('Cc', 'Cf', 'Zl', 'Zp', 'Cs') else c for c in str(name))
    parts = [part for part in re.split(r'[/\\]', text) if part not in ('', '.', '..')]
    return '/'.join(parts)[:200] or '_'


def plain_name(name: object) -> str:
    """A name on one line without folders.

    >>> plain_name('../x')
    'x'
    >>> plain_name('a/b')
    'a_b'
    """
    return plain_path(name).replace('/', '_')


def markdown_text(text: str) -> str:
    """Text escaped for Markdown, on one line: it can contain no HTML, link or picture.

    >>> markdown_text('<b>1 < 2 [x](y)')
    '&lt;b&gt;1 &lt; 2 \\\\[x\\\\](y)'
    """
    return re.sub(r'([\[\]])', r'\\\1', html.escape(' '.join(text.split()), quote=False))
