"""16-bit images: decoded with all 16 bits, and compared with the 8-bit pixels that Pillow decodes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from metaf2n_arch.images.photo import upright
from metaf2n_arch.utils.checks import DataError

_KEPT_CHUNKS = (b'IHDR', b'PLTE', b'tRNS', b'IDAT', b'IEND')
EIGHT_OF_SIXTEEN = 'read with 8 of its 16 bits'


def is_deep(image: Any, data: bytes, name: str) -> bool:
    """Whether a channel has 16 bits. Pillow silently reads only 8 of them from images of several channels.

    Raises:
        DataError: a TIFF file of more than 16 bits, of floating-point numbers or of signed integers.
    """
    if image.format == 'PNG':
        return data[24] == 16
    if image.format == 'PPM':
        return image.mode == 'I' or _ppm_maximum(data) > 255
    if image.format != 'TIFF':
        return False
    tags = getattr(image, 'tag_v2', {})
    bits, kinds = tags.get(258, (8,)), tags.get(339, (1,))
    if max(bits) > 16 or any(kind != 1 for kind in kinds):
        kind = {2: 'signed integers', 3: 'floating-point numbers'}.get(max(kinds), 'integers')
        raise DataError(
            f'{name} has {max(bits)}-bit {kind}, expected 8- or 16-bit unsigned integers per channel; convert it.'
        )
    return max(bits) == 16


def deep_pixels(
    image: Any, data: bytes, shallow: np.ndarray, turned: int, name: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The pixels of an image with all 16 bits, turned upright, and notes for the user.

    Args:
        image: opened by Pillow.
        data: content of the file.
        shallow: the pixels as Pillow decodes them: (H, W) or (H, W, C), upright; uint8, or uint16 if Pillow keeps all
            bits.
        turned: EXIF orientation.
        name: name of the file in errors.

    Raises:
        DataError: two decoders read different pixels from the file.
    """
    if image.format == 'TIFF':
        read, sure = _tiff(data), _others_err(image)
    elif image.format == 'PNG':
        read, sure = _opencv(plain_png(data)), False
    else:
        read, sure = _opencv(data), False
    if read is None and image.format == 'TIFF':
        read = _opencv(data)  # a compression that tifffile cannot decode alone
    deep = None if read is None else _like(upright(read, turned), shallow)
    if deep is None:
        if sure:
            raise DataError(f'{name} cannot be read with its 16 bits; save it as a plain 16-bit PNG.')
        return shallow, () if shallow.dtype == np.uint16 else (EIGHT_OF_SIXTEEN,)
    if not sure and not _agree(deep, shallow):
        raise DataError(f'{name} is read differently by two decoders; save it as a plain 16-bit PNG.')
    return np.ascontiguousarray(deep), ()


def plain_png(data: bytes) -> bytes:
    """A PNG file with only those chunks that hold the pixels of its still picture; no animation, orientation, profile.

    >>> plain_png(b'no PNG')
    b'no PNG'
    """
    if not data.startswith(b'\x89PNG\r\n\x1a\n'):
        return data
    parts, place = [data[:8]], 8
    while place + 12 <= len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], 'big')
        if data[place + 4 : place + 8] in _KEPT_CHUNKS:
            parts.append(data[place:end])
        place = end
    return b''.join(parts)


def _opencv(data: bytes) -> np.ndarray | None:
    import cv2

    try:
        read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if read is None or read.dtype != np.uint16:
        return None
    return read if read.ndim == 2 else read[..., [2, 1, 0, 3][: read.shape[2]]]


def _tiff(data: bytes) -> np.ndarray | None:
    """The first page as it is stored: channels last, premultiplied alpha divided out, white 65535."""
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page: Any = file.pages[0]
            read = page.asarray()
    except Exception:  # the package for a compression is missing, or only libtiff tolerates a fault of the file
        return None
    if read.dtype != np.uint16 or page.photometric not in (0, 1, 2):
        return None
    if page.planarconfig == 2 and read.ndim == 3:
        read = np.moveaxis(read, 0, -1)
    if page.photometric == 0:
        read = 65535 - read
    if page.extrasamples and page.extrasamples[0] == 1:
        alpha = np.maximum(read[..., -1:].astype(np.float64), 1)
        colours = np.minimum(np.round(read[..., :-1] * (65535 / alpha)), 65535)
        read = np.concatenate([colours.astype(np.uint16), read[..., -1:]], axis=-1)
    return read if read.ndim in (2, 3) else None


def _others_err(image: Any) -> bool:
    """Whether OpenCV and Pillow are known to misread this TIFF file: separate planes, or 0 means white."""
    tags = image.tag_v2
    return tags.get(284, 1) == 2 or tags.get(262) == 0


def _like(read: np.ndarray, shallow: np.ndarray) -> np.ndarray | None:
    """The channels of `read` that `shallow` has; None if `read` lacks one or has another size."""
    wanted = shallow.shape[2] if shallow.ndim == 3 else 1
    if read.shape[:2] != shallow.shape[:2]:
        return None
    if read.ndim == 2:
        return read if wanted == 1 else None
    if wanted in (1, 2) and read.shape[2] >= 3:  # grey, for which OpenCV returns three equal channels
        read = read[..., [0, 3][: min(wanted, read.shape[2] - 2)]]
    if read.shape[2] < wanted:
        return None
    return read[..., 0] if wanted == 1 else read[..., :wanted]


def _agree(deep: np.ndarray, shallow: np.ndarray) -> bool:
    """Whether both show the same picture: 999 of 1000 values differ by at most two of 255 levels, weighted by alpha."""
    eight = deep / 257.0
    other = shallow / (257.0 if shallow.dtype == np.uint16 else 1.0)
    if deep.ndim == 3 and deep.shape[2] in (2, 4):
        opaque = np.maximum(eight[..., -1:], other[..., -1:]) / 255
        eight, other = eight * opaque, other * opaque
    return bool(np.mean(np.abs(eight - other) > 2) < 1e-3)


def _ppm_maximum(data: bytes) -> int:
    """The largest value by the header of a PGM or PPM file; 0 if the header has none."""
    import re

    header = re.sub(rb'#[^\n]*', b' ', data[:4096])
    found = re.match(rb'P[2356]\s+\d+\s+\d+\s+(\d+)\s', header)
    return int(found[1]) if found else 0
