"""Versions of installed packages, and problems: missing, too old, or two packages that write into the same folder."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Iterator

from packaging.requirements import InvalidRequirement, Requirement

OURS = 'metaf2n-arch'
SHOWN = (
    'torch',
    'torchvision',
    'basicsr',
    'numpy',
    'opencv-python',
    'pillow',
    'spandrel',
    'facexlib',
    'pyiqa',
    'numba',
)
"""Distributions whose versions help to understand an issue."""


def version(distribution: str) -> str | None:
    """The installed version of a distribution; None if it is not installed.

    >>> version('no-such-thing') is None
    True
    """
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def problems() -> list[str]:
    """Required packages that are missing or too old, one line each, with the command that mends it."""
    found = []
    try:
        required = importlib.metadata.requires(OURS) or []
    except importlib.metadata.PackageNotFoundError:
        found.append(f'{OURS} itself is not installed; run in a copy of the source: python -m metaf2n_arch.install')
        required = []
    return [*found, *_unmet(required)]


def notes() -> list[str]:
    """Warnings about an installation that works, but may break with the next ``pip install``."""
    if version('opencv-python') is None or version('opencv-python-headless') is None:
        return []
    both = 'opencv-python opencv-python-headless'
    return [f'two packages write OpenCV into one folder; run: pip uninstall -y {both} && pip install opencv-python']


def _unmet(required: Iterable[str]) -> Iterator[str]:
    for line in required:
        try:
            need = Requirement(line)
        except InvalidRequirement:
            continue
        if need.marker is not None and not need.marker.evaluate({'extra': ''}):
            continue
        have = version(need.name)
        # Installing with --light leaves pyiqa out; metrics that need it report that themselves.
        if have is None and need.name != 'pyiqa':
            yield f'{need.name} is not installed; run: pip install "{need.name}{need.specifier}"'
        elif have is not None and not need.specifier.contains(have, prereleases=True):
            yield (
                f'{need.name} is {have}, but {need.specifier} is needed; run: pip install "{need.name}{need.specifier}"'
            )
