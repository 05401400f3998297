"""Meta-info files: one image per line, ``name.png (h,w,c)``; names may contain blanks, commas and brackets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from metaf2n_arch.images.formats import is_image_name
from metaf2n_arch.utils.checks import DataError

Size = tuple[int, int]
# The last bracket of a line is the size, so that a name may contain others. In an LMDB the compression follows it.
_WITH_SIZE = re.compile(r'^(?P<name>.*\S)\s+\((?P<height>\d+),\s*(?P<width>\d+)(?:,\s*\d+)?\)(?:\s+[^()]*)?$')


def meta_lines(sizes: Mapping[str, Size]) -> str:
    """Returns the text of a meta-info file, from name -> (height, width).

    >>> meta_lines({'a.png': (4, 6)})
    'a.png (4,6,3)\\n'
    """
    return ''.join(f'{Path(name).as_posix()} ({h},{w},3)\n' for name, (h, w) in sizes.items())


def parse_line(line: str) -> tuple[str, Size | None]:
    """Returns the name and, if the line has it, (height, width); for a pair ``gt/a.png, lq/a.png`` the first name.

    >>> parse_line('crop (10, 20), b.png (96,128,3) 1')
    ('crop (10, 20), b.png', (96, 128))
    >>> parse_line('gt/a.png, lq/a.png')
    ('gt/a.png', None)
    """
    match = _WITH_SIZE.match(line)
    if match:
        return _first_of_pair(match['name']), (int(match['height']), int(match['width']))
    return _first_of_pair(line), None


def _first_of_pair(text: str) -> str:
    """The text before the first comma that comes after an image suffix; other commas are part of a name."""
    for match in re.finditer(', ', text):
        # After the comma there must be a second name, not the rest of the first.
        if is_image_name(text[: match.start()]) and is_image_name(text):
            return text[: match.start()]
    return text


def read_meta_info(listing: Path, root: Path, where: str) -> tuple[list[str], list[Size | None]]:
    """Returns the names in a meta-info file, and their sizes (height, width) or None.

    Args:
        listing: the file, UTF-8 with or without a byte-order mark.
        root: folder that the names are relative to.
        where: key path of the option, for errors.

    Raises:
        DataError: it cannot be read, or names a file outside `root`.
    """
    try:
        lines = listing.read_text(encoding='utf-8-sig').split('\n')
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, 'strerror', None) or 'it is not UTF-8 text'
        raise DataError(f'{where}: the meta-info file {listing} cannot be read: {reason}.') from None
    names: list[str] = []
    sizes: list[Size | None] = []
    for line in lines:
        if not line.strip():
            continue
        name, size = parse_line(line.rstrip('\r'))
        if name != name.strip() and not (root / name).exists():
            name = name.strip()  # the blanks are not part of the name
        path = PurePosixPath(name.replace('\\', '/')) if '\\' in name else PurePosixPath(name)
        if '..' in path.parts or path.is_absolute():
            raise DataError(f'{where}: {listing} lists {name}, which is outside {root}; list only files inside it.')
        names.append(name)
        sizes.append(size)
    return names, sizes
