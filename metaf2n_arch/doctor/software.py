"""Versions of installed packages, and what is wrong with them: too old, missing, or two that write into one folder."""

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
"""Distributions whose versions an issue needs."""


def version(distribution: str) -> str | None:
    """The installed version, or None.

    >>> version('no-such-thing') is None
    True
    """
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def problems() -> list[str]:
    """What of the required packages is missing or too old: a line each, with the remedy."""
    found = []
    try:
        required = importlib.metadata.requires(OURS) or []
    except importlib.metadata.PackageNotFoundError:
        found.append(f'{OURS} itself is not installed; run in a copy of the source: python -m metaf2n_arch.install')
        required = []
    return [*found, *_unmet(required)]


def notes() -> list[str]:
    """What works today and may break with the next installation."""
    if version('opencv-python') is None or version('opencv-python-headless') is None:
        return []
    both = 'opencv-python opencv-python-headless'
    return [f'two OpenCVs share one folder; run: pip uninstall -y {both} && pip install opencv-python']


def _unmet(required: Iterable[str]) -> Iterator[str]:
    for line in required:
        try:
            need = Requirement(line)
        except InvalidRequirement:
            continue
        if need.marker is not None and not need.marker.evaluate({'extra': ''}):
            continue
        have = version(need.name)
        # pyiqa is left out by --light: what asks for it says so itself.
        if have is None and need.name != 'pyiqa':
            yield f'{need.name} is not installed; run: pip install "{need.name}{need.specifier}"'
        elif have is not None and not need.specifier.contains(have, prereleases=True):
            yield (
                f'{need.name} is {have}, but {need.specifier} is needed; run: pip install "{need.name}{need.specifier}"'
            )
