"""`basicsr.utils.img_util`: in runs of this package `imfrombytes` names a file that is not an image."""

from __future__ import annotations

from types import ModuleType

import cv2
import numpy as np

from metaf2n_arch.bridge.patching import ORIGINALS, Repair, replace_for_ours
from metaf2n_arch.run import data_files


def imfrombytes(content: bytes, flag: str = 'color', float32: bool = False) -> np.ndarray:
    """Decodes an image as BasicSR does: (H, W, 3) or (H, W), BGR or grey; uint8, or float32 in [0, 1].

    Without ``float32`` it returns None for bytes that are not an image, as BasicSR does, for callers that check it.

    Raises:
        DataError: ``float32`` is set and the bytes are not an image; the message names the file.
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


REPAIRS = [Repair('broken-images', 'basicsr.utils.img_util', _apply, 'does not name a damaged file')]
