"""LMDB of a folder of images, in the layout of BasicSR."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metaf2n_arch.data.prepare.driver import Skipped, Summary, Track, Unfit, each, image_names, require_apart, stem
from metaf2n_arch.data.prepare.meta_info import Measure
from metaf2n_arch.images.reading import image_size, read_image
from metaf2n_arch.utils.checks import DataError, OptionError
from metaf2n_arch.utils.files import write_whole

BATCH = 64
"""Number of images written in one transaction; a crash loses at most as many."""


@dataclass(frozen=True)
class Encode:
    """Returns an image as a PNG file with three channels, 8 or 16 bits; a low `compression` is fast to decode."""

    source: Path
    compression: int = 1

    def __call__(self, name: str) -> bytes:
        import cv2

        try:
            image = read_image(self.source / name)
        except DataError as error:
            raise Unfit(str(error)) from None
        bgr = np.ascontiguousarray(image[..., ::-1])
        return cv2.imencode('.png', bgr, [cv2.IMWRITE_PNG_COMPRESSION, self.compression])[1].tobytes()


def key_of(name: str) -> str:
    """Returns an image's key: its relative path without suffix.

    Raises:
        Unfit: BasicSR could not read the entry under this name.
    """
    key = stem(name)
    if '.' in key:
        raise Unfit(f'{name} has another dot than that of its suffix, where BasicSR would end the key; rename it.')
    if not key.isascii():
        raise Unfit(f'{name} has a name that is not ASCII, which BasicSR cannot find in an LMDB; rename it.')
    return key


def write_lmdb(
    source: Path,
    target: Path,
    compression: int = 1,
    jobs: int | None = None,
    dry_run: bool = False,
    track: Track = lambda i, n: i,
) -> Summary:
    """Writes ``data.mdb``, ``lock.mdb`` and ``meta_info.txt`` for the images of a folder.

    They are written into ``.<name>.partial``, which is renamed when it is complete. After an interruption the next run
    continues there.

    Args:
        source: folder of images, searched with its subfolders.
        target: folder to make; its name must end in ``.lmdb``.
        compression: compression level of the PNG files, 0 to 9.
        jobs: number of processes.
        dry_run: only check the headers, and write nothing.
        track: wraps an iterable of the given length, for a progress bar.

    Raises:
        OptionError: `target` has another suffix.
        DataError: there is no image, `target` holds other images, or it cannot be written.
    """
    if target.suffix != '.lmdb':
        raise OptionError(f'{target} does not end in .lmdb, by which BasicSR recognises an LMDB; add the suffix.')
    require_apart(source, target)
    summary = Summary()
    keys: dict[str, str] = {}
    for name in image_names(source, summary.skipped):
        try:
            keys[name] = key_of(name)
        except Unfit as error:
            summary.skipped[name] = str(error)
    if target.exists():
        return _finished(target, keys, summary)
    if dry_run:
        for name, result in each(Measure(source), list(keys), 1):
            if isinstance(result, Skipped):
                summary.skipped[name] = result.reason
        summary.made = sum(name not in summary.skipped for name in keys)
        return summary
    partial = target.with_name(f'.{target.name}.partial')
    _fill(partial, source, keys, summary, compression, jobs, track)
    if summary.made or summary.before:
        os.rename(partial, target)
    return summary


def _finished(target: Path, keys: dict[str, str], summary: Summary) -> Summary:
    listing = target / 'meta_info.txt'
    lines = listing.read_text(encoding='utf-8').splitlines() if listing.is_file() else []
    stored = {line.split('.png (')[0] for line in lines}
    if missing := sorted(set(keys.values()) - stored):
        more = f' and {len(missing) - 1} more' if len(missing) > 1 else ''
        raise DataError(f'{target} exists, but lacks {missing[0]}{more}; remove it to make it again.')
    summary.before = len(keys)
    return summary


def _fill(
    folder: Path, source: Path, keys: dict[str, str], summary: Summary, compression: int, jobs: int | None, track: Track
) -> None:
    """Adds the missing images to the LMDB in `folder`, then writes the list of all images."""
    import lmdb

    try:
        folder.mkdir(parents=True, exist_ok=True)
        environment = lmdb.open(str(folder), map_size=1 << 30)
    except (OSError, lmdb.Error) as error:
        raise DataError(f'{folder} cannot be written: {error}.') from None
    try:
        stored = _stored(environment)
        todo = [name for name, key in keys.items() if key not in stored]
        summary.before = len(keys) - len(todo)
        batch: dict[str, bytes] = {}
        for name, result in track(each(Encode(source, compression), todo, jobs), len(todo)):
            if not isinstance(result, bytes):
                summary.skipped[name] = result.reason
                continue
            batch[keys[name]] = result
            stored[keys[name]] = image_size(result)
            summary.made += 1
            if len(batch) == BATCH:
                _commit(environment, batch)
        _commit(environment, batch)
        summary.files = 1 if stored else 0
        lines = [f'{key}.png ({h},{w},3) {compression}\n' for key, (h, w) in sorted(stored.items())]
    finally:
        environment.close()
    write_whole(folder / 'meta_info.txt', ''.join(lines))


def _stored(environment: Any) -> dict[str, tuple[int, int]]:
    """Returns key -> (height, width) of the images that an earlier run has stored."""
    with environment.begin() as transaction:
        return {key.decode(): image_size(bytes(data)) for key, data in transaction.cursor()}


def _commit(environment: Any, batch: dict[str, bytes]) -> None:
    """Writes a batch and empties it; doubles the map size whenever the map is full."""
    import lmdb

    while batch:
        try:
            with environment.begin(write=True) as transaction:
                for key, data in batch.items():
                    transaction.put(key.encode(), data)
            batch.clear()
        except lmdb.MapFullError:
            environment.set_mapsize(2 * environment.info()['map_size'])
        except lmdb.Error as error:
            raise DataError(f'{environment.path()} cannot be written: {error}.') from None
