"""A data file that cannot be used is named.

Seen with BasicSR 1.4.2 and OpenCV 5: a corrupt image, or a text file among images, ends training with an error of NumPy
or OpenCV that names no file, because `imfrombytes` gets the bytes alone; a key that an LMDB lacks, a folder without
images and pairs that do not match end no better. Instead the file client remembers which bytes came from where. May go
when the host's readers know their paths.
"""

from __future__ import annotations

import os.path as osp
import threading
from collections import deque
from types import ModuleType
from typing import Any

import cv2
import numpy as np

from metaf2n_arch.bridge.table import ORIGINALS, Repair, replace
from metaf2n_arch.utils.checks import DataError

# (identity of the bytes, path) of the files read last by this thread; identities, so that no file is kept in memory.
_recent = threading.local()


def get(self: Any, filepath: Any, client_key: str = 'default') -> Any:
    """Reads a file like the host, and remembers what its bytes are called."""
    content = ORIGINALS['basicsr.utils.file_client.FileClient.get'](self, filepath, client_key)
    name = str(filepath)
    if self.backend == 'lmdb':
        clients = self.client._client
        folder = dict(zip(clients, self.client.db_paths)).get(client_key, client_key)
        name = f'{folder}, key {filepath}'
        if content is None:
            raise DataError(f'{name}: no such key in this LMDB; its meta_info.txt does not belong to it.')
    files = _recent.__dict__.setdefault('files', deque(maxlen=64))
    files.appendleft((id(content), name))
    return content


def imfrombytes(content: Any, flag: str = 'color', float32: bool = False) -> np.ndarray:
    """Decodes an image like the host; raises `DataError` naming the file if it is none."""
    decode = ORIGINALS['basicsr.utils.img_util.imfrombytes']
    try:
        image = decode(content, flag=flag, float32=False) if len(content) else None
    except cv2.error:
        image = None
    if image is None:
        files = _recent.__dict__.get('files', ())
        name = next((name for identity, name in files if identity == id(content)), 'an image given as bytes')
        raise DataError(
            f'{name}: not an image that OpenCV can read ({len(content)} bytes); replace the file or take it out.'
        )
    return image.astype(np.float32) / 255.0 if float32 else image


def paired_paths_from_folder(folders: list[str], keys: list[str], filename_tmpl: str) -> list[dict[str, str]]:
    """Pairs files like the host; raises `DataError` naming the first that lack a partner."""
    from basicsr.utils import scandir

    here, there = (sorted(scandir(folder)) for folder in folders)
    stems = {filename_tmpl.format(osp.splitext(osp.basename(name))[0]) + osp.splitext(name)[1] for name in there}
    lonely = [f'{folders[1]} has no partner of {name}' for name in here if osp.basename(name) not in stems]
    names = {osp.basename(name) for name in here}
    lonely += [f'{folders[0]} has no {name}' for name in sorted(stems) if name not in names]
    if lonely:
        more = f' ({len(lonely)} such files)' if len(lonely) > 1 else ''
        raise DataError(f'{lonely[0]}{more}; {keys[0]} and {keys[1]} images must come in pairs.')
    return ORIGINALS['basicsr.data.data_util.paired_paths_from_folder'](folders, keys, filename_tmpl)


def paired_random_crop(
    img_gts: Any, img_lqs: Any, gt_patch_size: int, scale: int, gt_path: str | None = None
) -> tuple[Any, Any]:
    """Crops like the host; raises `DataError` naming the pair if it is too small or does not fit the scale."""
    crop = ORIGINALS['basicsr.data.transforms.paired_random_crop']
    try:
        return crop(img_gts, img_lqs, gt_patch_size, scale, gt_path)
    except ValueError as error:
        reason = ' '.join(' '.join(map(str, error.args)).split()).partition(' Please remove')[0].rstrip('.')
        raise DataError(
            f'{gt_path or "a pair of images"}: {reason}; take it out, or correct gt_size or scale.'
        ) from None


def build_dataset(dataset_opt: dict[str, Any]) -> Any:
    """Builds a data set like the host; raises `DataError` if there is nothing in it."""
    data_set = ORIGINALS['basicsr.data.build_dataset'](dataset_opt)
    if len(data_set) == 0:
        places = [f'{key} {value}' for key, value in dataset_opt.items() if key.startswith(('dataroot', 'meta_info'))]
        raise DataError(f'data set {dataset_opt["name"]}: found no images ({", ".join(places) or "no folder given"}).')
    return data_set


def _patch(name: str, function: Any) -> Any:
    def apply(module: ModuleType) -> bool:
        owner = getattr(module, name) if name == 'FileClient' else module
        replace(owner, function.__name__, function)
        return True

    return apply


REPAIRS = [
    Repair('names of files', 'basicsr.utils.file_client', _patch('FileClient', get), 'forgets where bytes came from'),
    Repair('broken images', 'basicsr.utils.img_util', _patch('', imfrombytes), 'names no file'),
    Repair('pairs', 'basicsr.data.data_util', _patch('', paired_paths_from_folder), 'names no file without a partner'),
    Repair('sizes of pairs', 'basicsr.data.transforms', _patch('', paired_random_crop), 'names no file, or no remedy'),
    Repair('empty data sets', 'basicsr.data', _patch('', build_dataset), 'divides by zero'),
]
