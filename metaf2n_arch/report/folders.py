"""Folders of results of any program: their images are matched with the references by name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metaf2n_arch.data.sources import first_few
from metaf2n_arch.images.listing import scan_images
from metaf2n_arch.images.reading import image_size, read_8bit
from metaf2n_arch.utils.checks import DataError


@dataclass(frozen=True)
class Match:
    """A result and its reference (or None), with the name of the reference without suffix."""

    name: str
    result: Path
    reference: Path | None


def list_images(folder: Path) -> dict[str, Path]:
    """Returns the images below a folder by their relative path without suffix.

    Raises:
        DataError: there is no such folder, no image in it, or two images have the same name.
    """
    if not folder.is_dir():
        raise DataError(f'there is no folder {folder}; give a folder of images.')
    names, others = scan_images(folder)
    if not names:
        found = f', only files such as {others[0]}' if others else ''
        raise DataError(f'there is no image in {folder}{found}; give a folder of images.')
    images: dict[str, Path] = {}
    for name in names:
        key = Path(name).with_suffix('').as_posix()
        if key in images:
            raise DataError(f'{images[key]} and {folder / name} have the same name; remove one.')
        images[key] = folder / name
    return images


def match_results(results: Path, reference: Path | None, multiple: int = 1) -> list[Match]:
    """Pairs results with references by name: ``<name>``, or ``<name><suffix>`` with one suffix in the whole folder.

    Subfolders of the results that do not exist among the references, such as ``unadapted/``, are left out.

    Args:
        results: folder of results of any program.
        reference: folder of the truth; None if there is none.
        multiple: height and width of references are cropped to a multiple of it at the bottom and right, as many test
            scripts do.

    Raises:
        DataError: a folder is missing or empty, or names, numbers or sizes of images do not match.
    """
    found = list_images(results)
    if reference is None:
        return [Match(name, path, None) for name, path in found.items() if '/' not in name] or [
            Match(name, path, None) for name, path in found.items()
        ]
    truth = list_images(reference)
    folders = {str(Path(name).parent) for name in truth}
    found = {name: path for name, path in found.items() if str(Path(name).parent) in folders}
    suffix = common_suffix(found, truth)
    missing = [name for name in truth if name + suffix not in found]
    extra = [name for name in found if not (name.endswith(suffix) and name.removesuffix(suffix) in truth)]
    if missing or extra:
        counts = f'{len(found)} images in {results}, {len(truth)} in {reference}'
        first = f'{first_few(missing)} without a result' if missing else f'{first_few(extra)} without a reference'
        ending = f'<name>{suffix}' if suffix else '<name>, or <name>_<suffix> with one suffix for all,'
        raise DataError(f'{counts}: {first}; expected one result called {ending} for each reference <name>.')
    matches = [Match(name, found[name + suffix], path) for name, path in truth.items()]
    _require_sizes(matches, multiple)
    return matches


def common_suffix(results: Iterable[str], references: Iterable[str]) -> str:
    """Returns the suffix that most results add to the names of their references; '' if the names are equal.

    >>> common_suffix(['a_x4', 'a_b_x4'], ['a', 'a_b'])
    '_x4'
    """
    results, references = set(results), list(references)
    first = references[0]
    candidates = {name.removeprefix(first) for name in results if name.startswith(first)}
    candidates = {ending for ending in candidates if ending[:1] in ('', '_', '-', '.')} | {''}
    return max(sorted(candidates, key=len), key=lambda ending: sum(name + ending in results for name in references))


def _require_sizes(matches: list[Match], multiple: int) -> None:
    wrong: list[str] = []
    for match in matches:
        assert match.reference is not None
        (h, w), (full_h, full_w) = image_size(match.result), image_size(match.reference)
        if (h, w) != (full_h - full_h % multiple, full_w - full_w % multiple):
            wrong.append(f'{match.result} ({h}x{w}, its reference {full_h}x{full_w})')
    if wrong:
        raise DataError(
            f'{first_few(wrong)} of another size; expected results as large as their references'
            f'{"" if multiple == 1 else f" cropped to multiples of {multiple}"}: restore with the scale of the'
            ' references, or crop these with --mod-crop.'
        )


def read_bgr(path: Path) -> np.ndarray:
    """Returns an image as BasicSR's metrics expect it: (H, W, 3) uint8 BGR, 16 bits rounded to 8."""
    return np.ascontiguousarray(read_8bit(path)[..., ::-1])
