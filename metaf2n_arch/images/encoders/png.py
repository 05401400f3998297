"""PNG encoder for 8 and 16 bits that writes strip by strip and holds one strip in memory."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import BinaryIO

import numpy as np

from metaf2n_arch.images.encoders.strips import Beside, Layout

_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_SUB = 1


def encode_png(file: BinaryIO, strips: Iterable[np.ndarray], layout: Layout, beside: Beside) -> None:
    """Writes a PNG file; see `Encoder`.

    Each row is filtered with *Sub*, and zlib searches only for runs (``Z_RLE``), as in OpenCV: several times faster
    than other settings, with files a tenth larger.
    """
    header = struct.pack('>IIBBBBB', layout.width, layout.height, layout.bits, _COLOUR_TYPES[layout.channels], 0, 0, 0)
    file.write(b'\x89PNG\r\n\x1a\n' + png_chunk(b'IHDR', header) + _chunks(beside))
    squeeze = zlib.compressobj(level=1, strategy=zlib.Z_RLE)
    for strip in strips:
        for top in range(0, len(strip), 256):
            data = squeeze.compress(_filtered(strip[top : top + 256], layout).data)
            if data:
                file.write(png_chunk(b'IDAT', data))
    file.write(png_chunk(b'IDAT', squeeze.flush()) + png_chunk(b'IEND', b''))


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file: length, kind, content, checksum."""
    return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))


def _filtered(strip: np.ndarray, layout: Layout) -> np.ndarray:
    """Rows of bytes: the number of the filter *Sub*, then each byte minus that of the pixel to its left."""
    pixel = layout.channels * layout.bits // 8
    values = strip.astype('>u2') if layout.bits == 16 else strip
    rows = np.ascontiguousarray(values).view(np.uint8).reshape(len(strip), -1)
    filtered = np.empty((len(rows), rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = _SUB
    filtered[:, 1 : 1 + pixel] = rows[:, :pixel]
    np.subtract(rows[:, pixel:], rows[:, :-pixel], out=filtered[:, 1 + pixel :])
    return filtered


def _chunks(beside: Beside) -> bytes:
    chunks = b''
    if 'gamma' in beside:
        chunks += png_chunk(b'gAMA', struct.pack('>I', round(beside['gamma'] * 100000)))
    if 'icc' in beside:
        chunks += png_chunk(b'iCCP', b'ICC profile\0\0' + zlib.compress(beside['icc']))
    if 'dpi' in beside:
        across, down = (round(value / 0.0254) for value in beside['dpi'])
        chunks += png_chunk(b'pHYs', struct.pack('>IIB', across, down, 1))
    if 'exif' in beside:
        chunks += png_chunk(b'eXIf', beside['exif'].removeprefix(b'Exif\0\0'))
    if 'xmp' in beside:
        chunks += png_chunk(b'iTXt', b'XML:com.adobe.xmp\0\0\0\0\0' + beside['xmp'])
    return chunks
