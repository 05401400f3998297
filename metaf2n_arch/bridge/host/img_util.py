"""`basicsr.utils.img_util`: in runs of ours `imfrombytes` names the file that is no image."""

from __future__ import annotations

from types import ModuleType

import cv2
import numpy as np

from metaf2n_arch.bridge.patching import ORIGINALS, Repair, replace_for_ours
from metaf2n_arch.run import data_files
from metaf2n_arch.utils.checks import DataError


def imfrombytes(content: bytes, flag: str = 'color', float32: bool = False) -> np.ndarray:
    """Decodes an image like the host; raises `DataError` naming the file if it is none."""
    decode = ORIGINALS['basicsr.utils.img_util.imfrombytes']
    try:
        image = decode(content, flag=flag, float32=False) if len(content) else None
    except cv2.error:
        image = None
    if image is None:
        raise DataError(
            f'{data_files.name_of(content)}: not an image that OpenCV can read ({len(content)} bytes); replace the '
            'file or take it out.'
        )
    return image.astype(np.float32) / 255.0 if float32 else image


def _apply(module: ModuleType) -> bool:
    replace_for_ours(module, 'imfrombytes', imfrombytes)
    return True


REPAIRS = [Repair('broken-images', 'basicsr.utils.img_util', _apply, 'names no file')]
