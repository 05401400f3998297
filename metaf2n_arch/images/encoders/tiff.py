"""TIFF encoder for 8 and 16 bits that writes strip by strip, with EXIF directories."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np

from metaf2n_arch.images.encoders.strips import Beside, Layout, recut
from metaf2n_arch.images.photo import EXIF_IFD, GPS_IFD

_STRIP_BYTES = 1 << 20
_XMP, _IPTC = 700, 33723
_OWN_NAMES = {0x010E: 'description', 0x0131: 'software', 0x0132: 'datetime'}
_BYTE, _ASCII, _LONG, _UNDEFINED = 1, 2, 4, 7
_CLASSIC = 42


def encode_tiff(file: BinaryIO, strips: Iterable[np.ndarray], layout: Layout, beside: Beside) -> None:
    """Writes a TIFF file, compressed with Deflate; see `Encoder`."""
    import tifffile

    rows = max(1, min(layout.height, _STRIP_BYTES // (layout.width * layout.channels * layout.bits // 8)))
    shape = (layout.height, layout.width, layout.channels)
    options, directories = _tags(beside)
    if layout.channels in (2, 4):
        options |= {'extrasamples': ['unassalpha'], 'planarconfig': 'contig'}
    elif layout.channels == 3:
        options['planarconfig'] = 'contig'
    with tifffile.TiffWriter(file, byteorder='<') as writer:
        writer.write(
            (np.ascontiguousarray(strip) for strip in recut(strips, rows)),
            shape=shape[:2] if layout.channels == 1 else shape,
            dtype=np.uint16 if layout.bits == 16 else np.uint8,
            photometric='rgb' if layout.channels >= 3 else 'minisblack',
            compression='zlib',
            rowsperstrip=rows,
            metadata=None,
            maxworkers=1,
            **options,
        )
    if directories:
        _add_directories(file, directories)


def _tags(beside: Beside) -> tuple[dict[str, Any], dict[int, dict[int, Any]]]:
    """Arguments of `TiffWriter.write`, and the EXIF directories to append after the picture."""
    options: dict[str, Any] = {'iccprofile': beside.get('icc'), 'software': False}
    if 'dpi' in beside:
        options |= {'resolution': beside['dpi'], 'resolutionunit': 'INCH'}
    extra: list[tuple[int, int, int, Any, bool]] = []
    for key, tag, kind in (('xmp', _XMP, _BYTE), ('iptc', _IPTC, _UNDEFINED)):
        if key in beside:
            extra.append((tag, kind, len(beside[key]), beside[key], True))
    directories: dict[int, dict[int, Any]] = {}
    if 'exif' in beside:
        from PIL import Image

        exif = Image.Exif()
        exif.load(beside['exif'])
        for tag in (EXIF_IFD, GPS_IFD):
            if content := exif.get_ifd(tag):
                directories[tag] = content
        for tag, value in exif.items():
            if isinstance(value, str) and tag in _OWN_NAMES:
                options[_OWN_NAMES[tag]] = value.encode()
            elif isinstance(value, str):
                text = value.encode() + b'\0'
                extra.append((tag, _ASCII, len(text), text, True))
    return {**options, 'extratags': extra}, directories


def _add_directories(file: BinaryIO, directories: dict[int, dict[int, Any]]) -> None:
    """Appends the EXIF directories to the file, then the picture's directory again, now with their offsets."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    file.seek(0)
    magic, first = struct.unpack('<2xHI', file.read(8))
    if magic != _CLASSIC:
        raise ValueError('EXIF needs a TIFF file of less than 4 GB')
    file.seek(first)
    (count,) = struct.unpack('<H', file.read(2))
    entries = [file.read(12) for _ in range(count)]
    following = file.read(4)
    for tag, content in directories.items():
        directory = ImageFileDirectory_v2(b'II*\0\x08\0\0\0', group=tag)
        for key, value in content.items():
            if not isinstance(value, dict):
                directory[key] = value
        place = _even_end(file)
        file.write(directory.tobytes(place))
        entries.append(struct.pack('<HHII', tag, _LONG, 1, place))
    entries.sort(key=lambda entry: struct.unpack('<H', entry[:2]))
    place = _even_end(file)
    file.write(struct.pack('<H', len(entries)) + b''.join(entries) + following)
    file.seek(4)
    file.write(struct.pack('<I', place))


def _even_end(file: BinaryIO) -> int:
    """Pads the file to an even length, moves to its end, and returns that offset."""
    place = file.seek(0, os.SEEK_END)
    if place % 2:
        file.write(b'\0')
    return place + place % 2
