"""Meta-info lists: one picture a line, ``name.png (h,w,c)``, with any name that a line can hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from metaf2n_arch.images.formats import is_image_name
from metaf2n_arch.utils.checks import DataError

Size = tuple[int, int]
# The last bracket of a line counts, so that a name may hold others; behind it LMDB lists have their compression.
_WITH_SIZE = re.compile(r'^(?P<name>.*\S)\s+\((?P<height>\d+),\s*(?P<width>\d+)(?:,\s*\d+)?\)(?:\s+[^()]*)?$')


def meta_lines(sizes: Mapping[str, Size]) -> str:
    """Returns the lines of a meta-info file.

    >>> meta_lines({'a.png': (4, 6)})
    'a.png (4,6,3)\\n'
    """
    return ''.join(f'{Path(name).as_posix()} ({h},{w},3)\n' for name, (h, w) in sizes.items())


def parse_line(line: str) -> tuple[str, Size | None]:
    """Returns name and, where the line has it, (height, width); of a pair ``gt/a.png, lq/a.png`` the first.

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
    """What stands before the first comma that follows the suffix of an image; a comma in a name is part of it."""
    for match in re.finditer(', ', text):
        # Behind the comma there must be a second name, not the rest of this one.
        if is_image_name(text[: match.start()]) and is_image_name(text):
            return text[: match.start()]
    return text


def read_meta_info(listing: Path, root: Path, where: str) -> tuple[list[str], list[Size | None]]:
    """Returns the names of a list and their sizes, where it has them.

    Args:
        listing: the file, UTF-8, with or without a mark of that at its start.
        root: folder that the names are relative to.
        where: key path of the option, for errors.

    Raises:
        DataError: it cannot be read, or names a file outside of `root`.
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
            name = name.strip()  # blanks of the list, not of the name
        path = PurePosixPath(name.replace('\\', '/')) if '\\' in name else PurePosixPath(name)
        if '..' in path.parts or path.is_absolute():
            raise DataError(f'{where}: {listing} lists {name}, which lies outside of {root}; list names below it.')
        names.append(name)
        sizes.append(size)
    return names, sizes
