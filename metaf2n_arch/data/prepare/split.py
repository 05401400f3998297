"""Split of a folder into training, validation and test lists; no file is moved."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from metaf2n_arch.data.meta_lines import meta_lines
from metaf2n_arch.data.prepare.driver import Summary, Track, stem
from metaf2n_arch.data.prepare.meta_info import measure
from metaf2n_arch.utils.checks import OptionError
from metaf2n_arch.utils.files import write_whole
from metaf2n_arch.utils.rng import numpy_generator

TOGETHER = r'^(.*?)(?:T\d)?(?:_s\d{3,})?$'
"""Names of `multiscale` and `crops`; the first group, without their additions, is the name of the photo."""


def photo_of(name: str, together: str = TOGETHER) -> str:
    """Returns the name of the photo that an image was made from.

    >>> photo_of('0001T2_s013.png')
    '0001'
    """
    match = re.match(together, stem(name))
    return match[1] if match else stem(name)


def split_names(
    names: Iterable[str], val: float = 0.1, test: float = 0.0, seed: int = 0, together: str = TOGETHER
) -> dict[str, list[str]]:
    """Returns the names in each list, ``train``, ``val`` and ``test``. All images of one photo are in the same list.

    Args:
        names: names of the images.
        val, test: a share below 1, or a number of images; photos are added with all their images until it is reached.
        seed: seed of the random order of photos.
        together: regular expression for names without suffix; its first group is the name of the photo.

    Raises:
        OptionError: no images would be left for training, or `val` or `test` is not a share or number.
    """
    photos: dict[str, list[str]] = {}
    for name in sorted(names):
        photos.setdefault(photo_of(name, together), []).append(name)
    total = sum(map(len, photos.values()))
    groups = list(photos.values())
    order = iter(numpy_generator(seed).permutation(len(groups)).tolist())
    lists: dict[str, list[str]] = {}
    for label, share in (('val', val), ('test', test)):
        if not (0 <= share < 1 or (share >= 1 and float(share).is_integer())):
            raise OptionError(f'{label} is {share}, expected a share below 1 or a whole number of images.')
        wanted = round(share * total) if share < 1 else int(share)
        taken: list[str] = []
        while len(taken) < wanted and (number := next(order, None)) is not None:
            taken += groups[number]
        lists[label] = sorted(taken)
    lists['train'] = sorted(name for number in order for name in groups[number])
    if not lists['train']:
        raise OptionError(
            f'val {val} and test {test} take all {total} images of {len(groups)} photos, so that none is left for '
            'training; lower them.'
        )
    return lists


def write_split(
    root: Path,
    out: Path,
    val: float = 0.1,
    test: float = 0.0,
    seed: int = 0,
    together: str = TOGETHER,
    dry_run: bool = False,
    track: Track = lambda i, n: i,
) -> tuple[dict[str, int], Summary]:
    """Writes ``train.txt``, ``val.txt`` and ``test.txt``, meta-info files of `root`, into `out`, except empty lists.

    Returns:
        The length of each list, and a summary.

    Raises:
        OptionError: see `split_names`.
        DataError: there is no folder or no image, or a file cannot be written.
    """
    sizes, summary = measure(root, track=track)
    lists = split_names(sizes, val, test, seed, together) if sizes else {}
    for label, names in lists.items():
        if names and not dry_run:
            write_whole(out / f'{label}.txt', meta_lines({name: sizes[name] for name in names}))
            summary.files += 1
    return {label: len(lists[label]) for label in ('train', 'val', 'test') if label in lists}, summary
