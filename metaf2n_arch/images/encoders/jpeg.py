"""JPEG encoder that writes strip by strip: each strip is encoded by itself, and the scans are joined.

A JPEG decoder resets its state at each restart marker, as an encoder does at the start of a picture. Each strip has a
multiple of eight rows of blocks and a restart marker after each row of blocks; there are eight different markers. So
the scans can follow one another with one more marker between them. The result is bit for bit that of encoding the whole
picture at once (ITU-T T.81, sections E.1.4 and F.1.1.5).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np

from metaf2n_arch.images.encoders.strips import Beside, Layout, recut

QUALITY = 95
BLOCK, MARKERS = 8, 8
_ROWS = 8 * BLOCK * MARKERS
_SCAN, _FRAME, _LAST_MARKER = 0xDA, (0xC0, 0xC1), b'\xff\xd7'
_APP13 = 0xED


def encode_jpeg(file: BinaryIO, strips: Iterable[np.ndarray], layout: Layout, beside: Beside) -> None:
    """Writes a JPEG file of 8 bits, grey or RGB, at quality 95, without chroma subsampling; see `Encoder`."""
    for number, strip in enumerate(recut(strips, _ROWS)):
        data = _encoded(strip, beside if number == 0 else {})
        start, frame = _places(data)
        if number == 0:
            # In the frame header, the height follows the length (2 bytes) and the precision (1 byte).
            file.write(data[: frame + 3] + struct.pack('>H', layout.height) + data[frame + 5 : start])
        else:
            file.write(_LAST_MARKER)
        file.write(data[start:-2])
    file.write(b'\xff\xd9')


def _encoded(strip: np.ndarray, beside: Beside) -> bytes:
    from PIL import Image

    options: dict[str, Any] = {}
    if 'icc' in beside:
        options['icc_profile'] = beside['icc']
    options |= {key: beside[key] for key in ('exif', 'xmp', 'dpi') if key in beside}
    if 'iptc' in beside:
        options['extra'] = _photoshop(beside['iptc'])
    buffer = io.BytesIO()
    Image.fromarray(strip).save(buffer, 'JPEG', quality=QUALITY, subsampling=0, restart_marker_rows=1, **options)
    return buffer.getvalue()


def _photoshop(iptc: bytes) -> bytes:
    """An APP13 segment with IPTC-NAA records as a Photoshop image resource, padded to an even length."""
    resource = b'8BIM\x04\x04\0\0' + struct.pack('>I', len(iptc)) + iptc + b'\0' * (len(iptc) % 2)
    content = b'Photoshop 3.0\0' + resource
    return bytes((0xFF, _APP13)) + struct.pack('>H', len(content) + 2) + content


def _places(data: bytes) -> tuple[int, int]:
    """Byte offsets of the scan's data and of the length in the frame header."""
    place, frame = 2, 0
    while True:
        kind, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], 'big')
        if kind in _FRAME:
            frame = place + 2
        place += 2 + length
        if kind == _SCAN:
            return place, frame
