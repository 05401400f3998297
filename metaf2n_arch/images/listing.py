"""Listing of image files: below a folder, with links followed, or by a file name pattern."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

from metaf2n_arch.images.formats import is_image_name


def scan_images(folder: Path, without: Path | None = None) -> tuple[list[str], list[str]]:
    """Returns sorted relative paths of the images below `folder`, and those of the other files, without hidden files.

    Links to folders are followed, except those that would lead into a cycle.

    Args:
        folder: where to search.
        without: a folder that is not searched, for example that of the results.
    """
    images: list[str] = []
    others: list[str] = []
    root = str(folder)
    left_out = None if without is None else os.path.realpath(without)
    through = {root: {os.path.realpath(folder)}}
    for parent, folders, files in os.walk(root, followlinks=True):
        above = through.pop(parent)
        inner = {os.path.join(parent, f): f for f in sorted(folders) if not f.startswith('.')}
        places = {path: os.path.realpath(path) for path in inner}
        kept = {path: place for path, place in places.items() if place not in above and place != left_out}
        folders[:] = [inner[path] for path in kept]
        through |= {path: {*above, place} for path, place in kept.items()}
        below = os.path.relpath(parent, root)
        for name in files:
            if not name.startswith('.'):
                relative = name if below == '.' else os.path.join(below, name)
                (images if is_image_name(name) else others).append(relative)
    return sorted(images), sorted(others)


def files_of_pattern(pattern: str) -> list[str]:
    """Sorted paths that match a pattern (``*``, ``?``, ``[ab]``, ``**``).

    Leading folders that exist under exactly that name, such as ``x [2020]``, are not read as patterns. The suffix
    matches in any case: ``*.j*`` finds ``A.JPG``.
    """
    parts = Path(pattern).parts
    start = 0
    while start < len(parts) - 1 and os.path.isdir(os.path.join(*parts[: start + 1])):
        start += 1
    stem, dot, suffix = parts[-1].rpartition('.')
    if dot and '[' not in suffix:
        suffix = re.sub(r'[a-zA-Z]', lambda m: f'[{m[0].lower()}{m[0].upper()}]', suffix)
    rest = [*parts[start:-1], stem + dot + suffix]
    prefix = glob.escape(os.path.join(*parts[:start])) if start else ''
    return sorted(glob.glob(os.path.join(prefix, *rest), recursive=True))
