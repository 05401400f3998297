"""Writer of image files: a file appears only when it is complete; written strip by strip where the format allows it."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from itertools import repeat
from pathlib import Path

import numpy as np

from metaf2n_arch.images.arrays import to_8bit
from metaf2n_arch.images.encoders.jpeg import QUALITY, encode_jpeg
from metaf2n_arch.images.encoders.png import encode_png
from metaf2n_arch.images.encoders.strips import Beside, Encoder, Layout
from metaf2n_arch.images.encoders.tiff import encode_tiff
from metaf2n_arch.images.encoders.whole import with_pillow
from metaf2n_arch.images.formats import WRITTEN, Format, format_of, name_too_long
from metaf2n_arch.images.photo import Photo
from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.utils.files import whole_file

_ENCODERS: dict[str, Encoder] = {
    'png': encode_png,
    'jpg': encode_jpeg,
    'tiff': encode_tiff,
    'webp': with_pillow('WEBP', quality=QUALITY),
    'avif': with_pillow('AVIF', quality=90),
    'bmp': with_pillow('BMP'),
}
_NAMES = {'icc': 'the colour profile', 'exif': 'EXIF', 'xmp': 'XMP', 'iptc': 'IPTC', 'dpi': 'DPI', 'gamma': 'gAMA'}
_SRGB_GAMMA = 0.45455


def write_photo(path: str | os.PathLike[str], photo: Photo) -> tuple[str, ...]:
    """Writes a photo in the format of the path's suffix. After an error no partial file is left.

    PNG and TIFF keep 16 bits, other formats get 8. JPEG and WebP are written at quality 95, JPEG without chroma
    subsampling, AVIF at quality 90. A fully opaque alpha channel is dropped where the format has no alpha.

    Returns:
        Notes for the user: metadata that the format cannot hold. Empty if all was written.

    Raises:
        DataError: the format cannot hold the photo, or the file cannot be written.
    """
    strips = (photo.pixels[top : top + 512] for top in range(0, len(photo.pixels), 512))
    return write_strips(path, strips, photo.pixels.shape, photo.pixels.dtype, photo, photo.is_opaque)


def write_image(path: str | os.PathLike[str], image: np.ndarray) -> None:
    """Writes an (H, W, 3) RGB or (H, W) grey picture, uint8 or uint16, as `write_photo` does."""
    write_photo(path, Photo(image))


def write_strips(
    path: str | os.PathLike[str],
    strips: Iterable[np.ndarray],
    shape: tuple[int, ...],
    dtype: np.dtype,
    beside: Photo,
    opaque: bool = False,
) -> tuple[str, ...]:
    """Writes a photo that comes in strips from top to bottom; PNG, JPEG and TIFF hold one strip at a time in memory.

    Args:
        path: file to write.
        strips: (h, W) or (h, W, C), uint8 or uint16, of any heights.
        shape: of the whole picture: (H, W) or (H, W, C).
        dtype: of the strips.
        beside: photo whose metadata is written; its pixels are not used.
        opaque: whether the alpha channel, if there is one, is fully opaque.

    Returns, Raises:
        As `write_photo`.
    """
    path = Path(path)
    check_target(path, shape, opaque)
    found = format_of(path)
    assert found is not None
    channels = shape[2] if len(shape) == 3 else 1
    drop = channels in (2, 4) and not found.alpha
    bits = 16 if dtype == np.uint16 and found.deep else 8
    # Other programs do not read a TIFF file of 16-bit grey with alpha; they read RGB with alpha.
    written = 4 if (found.name, channels, bits) == ('tiff', 2, 16) else channels - drop
    layout = Layout(shape[0], shape[1], written, bits)
    kept, notes = _kept(found, layout, beside)
    try:
        with whole_file(path) as file:
            _ENCODERS[found.name](file, _fitting(strips, layout), layout, kept)
    except (ValueError, OverflowError) as error:
        reason = (str(error).splitlines() or [''])[0]
        raise DataError(f'{path} cannot be written as {found.name}: {reason.rstrip(".")}; choose png.') from None
    return notes


def check_target(path: str | os.PathLike[str], shape: tuple[int, ...], opaque: bool = False) -> None:
    """Checks, before anything is computed, that a picture of this shape can be written to `path`.

    Raises:
        DataError: it cannot, because of the format, the size, the transparency, or the length of the name.
    """
    path = Path(path)
    found = format_of(path)
    if found is None:
        raise DataError(f'{path} has no image suffix, expected one of {", ".join(WRITTEN)}.')
    reason = None
    if not found.written:
        reason = f'{path.suffix[1:]} files are read, but not written; choose png'
    elif max(shape[:2]) > found.longest:
        size = f'{shape[1]} x {shape[0]}'
        reason = f'{found.name} holds at most {found.longest} pixels per side, not {size}; choose png or tiff'
    elif len(shape) == 3 and shape[2] in (2, 4) and not found.alpha and not opaque:
        reason = f'{found.name} holds no transparency; choose png, webp or tiff'
    else:
        reason = name_too_long(path)
    if reason:
        raise DataError(f'{path} cannot be written: {reason}.')


def _fitting(strips: Iterable[np.ndarray], layout: Layout) -> Iterator[np.ndarray]:
    """Strips with the channels and bits of the layout."""
    for strip in strips:
        picture = to_8bit(strip) if layout.bits == 8 else strip
        if picture.ndim == 3 and layout.channels > picture.shape[2]:
            picture = picture[..., [0, 0, 0, 1]]
        elif picture.ndim == 3:
            picture = picture[..., : layout.channels] if layout.channels > 1 else picture[..., 0]
        yield np.ascontiguousarray(picture)


def _kept(found: Format, layout: Layout, beside: Photo) -> tuple[Beside, tuple[str, ...]]:
    """The metadata that the format can hold, tried on a tiny picture, and a note about the rest."""
    wanted = {key: value for key in _NAMES if (value := getattr(beside, key)) is not None}
    if wanted.get('icc', b'')[16:20] == b'GRAY' and (layout.channels >= 3 or found.name in ('webp', 'avif')):
        kept = {key: wanted[key] for key in wanted if key != 'icc' and key in found.keeps}
    else:
        kept = {key: wanted[key] for key in wanted if key in found.keeps}
    if kept and not _holds(found, layout, kept):
        kept = {key: value for key, value in kept.items() if _holds(found, layout, {key: value})}
    left = [key for key in wanted if key not in kept and not (key == 'gamma' and abs(wanted[key] - _SRGB_GAMMA) < 1e-3)]
    return kept, (f'left out, as {found.name} cannot hold it: {", ".join(_NAMES[k] for k in left)}',) if left else ()


def _holds(found: Format, layout: Layout, beside: Beside) -> bool:
    shape = (8, 8, layout.channels)
    tiny = np.zeros(shape[:2] if layout.channels == 1 else shape, np.uint16 if layout.bits == 16 else np.uint8)
    try:
        _ENCODERS[found.name](io.BytesIO(), repeat(tiny, 1), Layout(8, 8, layout.channels, layout.bits), beside)
    except Exception:  # faulty metadata can raise any exception; the photo is written without it
        return False
    return True
