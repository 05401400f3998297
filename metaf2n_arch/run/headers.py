"""Image headers of BasicSR's own data sets, checked before training starts.

Seen with BasicSR 1.4.2: a pair whose sizes do not fit, or a file that is not an image, ends training when it is read,
hours later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from metaf2n_arch.data.sources import open_whole, readable
from metaf2n_arch.images.reading import image_size
from metaf2n_arch.run.data_files import no_image
from metaf2n_arch.utils.checks import DataError

MOST = 5_000
"""Largest number of items whose headers are checked, spread evenly over the data set."""

Size = tuple[int, int]
Source = str | Callable[[], bytes]
"""The path of a file, or a function that reads an entry of an LMDB."""


def check_headers(data_set: Any) -> None:
    """Checks the images of one of BasicSR's data sets of images or of pairs; does nothing for any other data set.

    Raises:
        DataError: an image cannot be read, a pair does not fit the scale, or an image is smaller than the patch. With
            ``skip_unreadable``, in training, some images may be unreadable.
    """
    options, items = getattr(data_set, 'opt', None), getattr(data_set, 'paths', None)
    known = type(data_set).__module__.startswith('basicsr.') and isinstance(options, Mapping)
    storage = (options.get('io_backend') or {}).get('type') if known and options else None
    if not isinstance(items, list) or storage not in ('disk', 'lmdb') or not options:
        return
    training = options.get('phase') == 'train'
    where = f'datasets.{options.get("phase")}'
    with ExitStack() as opened:
        some = items[:: max(1, -(-len(items) // MOST))]
        headers = {number: partial(_sizes, item) for number, item in enumerate(_files(options, some, storage, opened))}
        sizes = readable(headers, where, training and bool(options.get('skip_unreadable')))
    wrong = [text for pair in sizes.values() if (text := _misfit(pair, options, training))]
    if wrong:
        more = f' ({len(wrong)} such pairs)' if len(wrong) > 1 else ''
        raise DataError(f'{where}: {wrong[0]}{more}; remove it, or correct gt_size or scale.')


def _files(
    options: Mapping[str, Any], items: list[Any], storage: str, opened: ExitStack
) -> Iterator[dict[str, tuple[str, Source]]]:
    """Yields for each item ``gt`` or ``lq`` -> (name of the image, its source)."""
    only = 'gt' if 'dataroot_gt' in options else 'lq'
    environments: dict[str, Any] = {}
    for item in items:
        files: dict[str, tuple[str, Source]] = {}
        for key, path in (item if isinstance(item, Mapping) else {f'{only}_path': item}).items():
            side = key.removesuffix('_path')
            if storage == 'disk':
                files[side] = path, str(path)
                continue
            folder = str(options[f'dataroot_{side}'])
            if folder not in environments:
                environments[folder] = opened.enter_context(open_whole(Path(folder), f'dataroot_{side}'))
            files[side] = f'{folder}, key {path}', partial(_stored, environments[folder], folder, path)
        yield files


def _stored(environment: Any, folder: str, key: str) -> bytes:
    with environment.begin(write=False) as transaction:
        content = transaction.get(key.encode())
    if content is None:
        raise DataError(f'{folder}, key {key}: no such key in this LMDB; its meta_info.txt does not belong to it.')
    return bytes(content)


def _sizes(files: Mapping[str, tuple[str, Source]]) -> dict[str, tuple[str, Size]]:
    """``gt`` or ``lq`` -> (name of the image, (height, width))."""
    return {side: (name, _size(name, source)) for side, (name, source) in files.items()}


def _size(name: str, source: Source) -> Size:
    """(height, width) of an image, from its header; a format that only OpenCV knows is decoded."""
    content = source if isinstance(source, str) else source()
    try:
        return image_size(content, name)
    except DataError:
        import cv2
        import numpy as np

        if isinstance(content, str):
            try:
                content = Path(content).read_bytes()
            except OSError as error:
                raise DataError(f'{name} cannot be opened: {error.strerror or error}.') from None
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
        if image is None:
            raise no_image(content, name) from None
        return image.shape[0], image.shape[1]


def _misfit(pair: Mapping[str, tuple[str, Size]], options: Mapping[str, Any], training: bool) -> str | None:
    """What is wrong with the sizes of a pair by the rules of BasicSR; None if they fit."""
    if set(pair) != {'gt', 'lq'}:
        return None
    (large, gt), (small, lq) = pair['gt'], pair['lq']
    scale, patch = options.get('scale'), options.get('gt_size')
    if not isinstance(scale, int):
        return None
    wanted = scale * lq[0], scale * lq[1]
    # Outside training BasicSR crops a larger GT.
    if gt != wanted if training else gt[0] < wanted[0] or gt[1] < wanted[1]:
        return f'{large} ({gt[0]}x{gt[1]}) is not {scale} times as large as {small} ({lq[0]}x{lq[1]})'
    if training and isinstance(patch, int) and min(lq) < patch // scale:
        return f'{large} ({gt[0]}x{gt[1]}) is smaller than gt_size {patch}'
    return None
