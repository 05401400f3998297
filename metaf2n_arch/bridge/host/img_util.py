"""`basicsr.utils.img_util`: in runs of ours `imfrombytes` names the file that is no image."""

from __future__ import annotations

from types import ModuleType

import cv2
import numpy as np

from metaf2n_arch.bridge.patching import ORIGINALS, Repair, replace_for_ours
from metaf2n_arch.run import data_files


def imfrombytes(content: bytes, flag: str = 'color', float32: bool = False) -> np.ndarray:
    """Decodes an image like the host.

    Raises:
        DataError: the bytes are no image and ``float32`` is asked for, which the host cannot give; it names the file.
            Without, None is returned as by the host, for callers that look for it.
    """
    decode = ORIGINALS['basicsr.utils.img_util.imfrombytes']
    if not float32:
        return decode(content, flag=flag, float32=False)
    try:
        image = decode(content, flag=flag, float32=False) if len(content) else None
    except cv2.error:
        image = None
    if image is None:
        raise data_files.no_image(content)
    return image.astype(np.float32) / 255.0


def _apply(module: ModuleType) -> bool:
    replace_for_ours(module, 'imfrombytes', imfrombytes)
    return True


REPAIRS = [Repair('broken-images', 'basicsr.utils.img_util', _apply, 'names no file')]
