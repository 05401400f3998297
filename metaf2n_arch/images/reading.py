"""Reader of image files: photos with their metadata, or plain RGB for training, preparation and evaluation."""

from __future__ import annotations

import io
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metaf2n_arch.images.arrays import to_8bit
from metaf2n_arch.images.deep import deep_pixels, is_deep
from metaf2n_arch.images.formats import FORMATS, lacking_plugin, readers
from metaf2n_arch.images.photo import Photo, dpi_of, exif_of, iptc_of, orientation, upright, xmp_of
from metaf2n_arch.utils.checks import DataError

if TYPE_CHECKING:
    from PIL import Image

# Colour spaces that are converted to RGB: the profile of the file does not fit the converted pixels.
_CONVERTED = ('CMYK', 'YCbCr', 'LAB', 'HSV')
_REPLACE = 'replace or remove it'


def read_photo(path: str | os.PathLike[str]) -> Photo:
    """Reads an image file in one of `FORMATS`; from a file of several pictures, the first.

    Metadata that cannot be read is left out, with a note in the result. The pixels are read all the same.

    Raises:
        DataError: the file cannot be opened, is cut off, or is no image of 8 or 16 bits per channel.
    """
    data = _content(path)
    name = str(path)
    with _opened(data, name) as image:
        deep = is_deep(image, data, name)
        notes = _further(image)
        pixels, told = _pixels(image, data, deep, name)
        kept, dropped = _kept(image)
    if dropped:
        told = (*told, f'left out: {", ".join(dropped)} that cannot be read')
    return Photo(pixels, notes=(*notes, *told), **kept)


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Returns the picture in a file, as `decode_image` does.

    Raises:
        DataError: the file cannot be opened or read.
    """
    return decode_image(_content(path), str(path))


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Returns the picture in an image file's bytes.

    Grey pictures get three equal channels, an alpha channel is dropped, 16 bits are kept, EXIF orientation is applied.

    Args:
        data: content of the file.
        name: name of the file in errors.

    Returns:
        (H, W, 3) RGB, uint8 or uint16.

    Raises:
        DataError: the bytes are not a complete image of 8 or 16 bits per channel.
    """
    with _opened(data, name) as image:
        pixels, _ = _pixels(image, data, is_deep(image, data, name), name)
    if pixels.ndim == 2 or pixels.shape[2] < 3:
        pixels = np.repeat(pixels if pixels.ndim == 2 else pixels[..., 0], 3).reshape(*pixels.shape[:2], 3)
    return np.ascontiguousarray(pixels[..., :3])


def read_8bit(path: str | os.PathLike[str]) -> np.ndarray:
    """Returns the picture in a file as (H, W, 3) uint8 RGB; 16 bits are rounded to 8.

    Raises:
        DataError: the file cannot be opened or read.
    """
    return to_8bit(read_image(path))


def image_size(source: str | os.PathLike[str] | bytes, name: str | None = None) -> tuple[int, int]:
    """Returns (height, width) of the picture, turned upright. Reads only the header, not the pixels.

    Raises:
        DataError: there is no image header.
    """
    name = name or ('the image' if isinstance(source, bytes) else str(source))
    with _opened(source, name) as image:
        width, height = image.size
        if image.format == 'TIFF':  # Pillow swaps the size by the TIFF tag, but not by XMP
            swapped = 274 not in getattr(image, 'tag_v2', {}) and orientation(image) >= 5
        elif image.format == 'PNG' and 'exif' not in image.info:
            swapped = _says_more(image) and orientation(image) >= 5
        else:
            swapped = orientation(image) >= 5
    return (width, height) if swapped else (height, width)


def _content(path: str | os.PathLike[str]) -> bytes:
    _require_file(path)
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise DataError(f'{path} cannot be opened: {getattr(error, "strerror", None) or error}.') from None


def _require_file(path: str | os.PathLike[str]) -> None:
    """Raises `DataError` for a pipe, a socket or a device: opening it could wait, or reading it go on, for ever."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # reported when the file is opened
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # opening a folder reports itself
        raise DataError(f'{path} cannot be opened: it is a pipe or a device, not a file.')


@contextmanager
def _opened(source: str | os.PathLike[str] | bytes, name: str) -> Iterator[Image.Image]:
    """An image opened by Pillow. Errors of the file inside the block become a `DataError` of one line."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(source, bytes) and not source:
        source = b' '  # so that Pillow reports "no image" instead of "no data"
    if not isinstance(source, bytes):
        _require_file(source)
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=readers()) as image:
            yield image
    except UnidentifiedImageError:
        kinds = ', '.join(each.name.upper() for each in FORMATS if set(each.readers) & set(readers()))
        reason = lacking_plugin(name) or f'it is not a {kinds} file by its content'
        raise DataError(f'{name} cannot be read as an image: {reason}; {_REPLACE}.') from None
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        shown = f'{round(limit, 3 if limit < 10 else 0):g}'
        raise DataError(f'{name} is larger than {shown} megapixels; allow more with --max-pixels.') from None
    except DataError:
        raise
    except MemoryError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, TypeError, KeyError, IndexError, struct.error) as error:
        raise DataError(f'{name} {_fault(error)}; {_REPLACE}.') from None


def _fault(error: Exception) -> str:
    strerror = getattr(error, 'strerror', None)
    if strerror:
        return f'cannot be opened: {strerror}'
    text = (str(error).splitlines() or [''])[0].rstrip('.') or type(error).__name__
    cut = isinstance(error, EOFError) or any(word in text.lower() for word in ('truncat', 'not enough', 'broken data'))
    return 'is cut off before its end and cannot be read' if cut else f'cannot be read: {text}'


def _further(image: Image.Image) -> tuple[str, ...]:
    frames = getattr(image, 'n_frames', 1)
    # MPO files of phones hold previews and depth maps after the photo: no note for these.
    return (f'the first of {frames} images in the file',) if frames > 1 and image.format != 'MPO' else ()


def _kept(image: Image.Image) -> tuple[dict[str, Any], list[str]]:
    """Metadata of an image, and the names of the kinds that cannot be read."""
    kept: dict[str, Any] = {}
    dropped = []
    if image.mode not in _CONVERTED:
        kept['icc'] = image.info.get('icc_profile') or None
    for name, read in (('exif', exif_of), ('xmp', xmp_of), ('iptc', iptc_of), ('dpi', dpi_of)):
        try:
            kept[name] = read(image)
        except Exception:  # faulty metadata can raise any exception; the pixels can still be read
            dropped.append(name.upper())
    gamma = image.info.get('gamma')
    kept['gamma'] = gamma if isinstance(gamma, float) and gamma > 0 else None
    return kept, dropped


def _pixels(image: Image.Image, data: bytes, deep: bool, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Pixels as in `Photo`, and notes for the user."""
    turned = orientation(image)  # before `load`, which turns a TIFF upright and removes its orientation
    image.load()
    # Pillow opens a 16-bit PNG of grey with alpha as RGBA.
    pixels = _shallow(image, name, grey=image.format == 'PNG' and data[25] == 4)
    if image.format != 'TIFF':
        pixels = upright(pixels, turned)
    if deep:
        return deep_pixels(image, data, np.ascontiguousarray(pixels), turned, name)
    return np.ascontiguousarray(pixels), ()


def _shallow(image: Image.Image, name: str, grey: bool) -> np.ndarray:
    if image.mode.startswith('I;16') or (image.mode == 'I' and image.format in ('PNG', 'PPM')):
        deep = np.asarray(image).astype(np.uint16)
        clear = image.info.get('transparency')
        if isinstance(clear, int):
            return np.dstack([deep, np.where(deep == clear, 0, 65535).astype(np.uint16)])
        return deep << _unused_bits(image)
    if image.mode in ('I', 'F'):
        raise DataError(f'{name} has 32 bits per channel (mode {image.mode}), expected 8 or 16; convert it.')
    see_through = 'transparency' in image.info or image.mode in ('LA', 'La', 'PA', 'RGBA', 'RGBa')
    is_grey = image.mode in ('1', 'L', 'LA', 'La') or grey
    if image.mode in ('CMYK', 'LAB'):
        image = _managed(image)
    wanted = ('LA' if see_through else 'L') if is_grey else ('RGBA' if see_through else 'RGB')
    if image.mode == 'La':  # Pillow converts premultiplied grey to nothing but LA
        image = image.convert('LA')
    return np.array(image if image.mode == wanted else image.convert(wanted))


def _unused_bits(image: Image.Image) -> int:
    """Number of highest bits that a grey TIFF of 9 to 15 bits leaves zero; otherwise 0."""
    bits = max(getattr(image, 'tag_v2', {}).get(258, (16,)))
    return 16 - bits if 8 < bits < 16 else 0


def _managed(image: Image.Image) -> Image.Image:
    """A CMYK or Lab image as sRGB, CMYK by the profile of its file if there is one: the plain formula is inexact."""
    from PIL import ImageCms

    profile: Any = image.info.get('icc_profile')
    if not profile and image.mode == 'CMYK':
        return image.convert('RGB')
    try:
        source: Any = ImageCms.createProfile('LAB')
        if image.mode == 'CMYK':
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile('sRGB'), outputMode='RGB')
    except (ImageCms.PyCMSError, OSError):
        converted = None
    return image.convert('RGB') if converted is None else converted


def _says_more(image: Image.Image) -> bool:
    """Whether a PNG file may have its orientation outside the header: in text, XMP, or chunks after the pixels."""
    if 'Raw profile type exif' in image.info or 'XML:com.adobe.xmp' in image.info:
        return True
    file = getattr(image, 'fp', None)
    if file is None:
        return False
    place = file.tell()
    try:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            if head[4:] in (b'eXIf', b'iTXt', b'zTXt', b'tEXt') and file.tell() > place:
                return True
            file.seek(int.from_bytes(head[:4], 'big') + 4, os.SEEK_CUR)
    finally:
        file.seek(place)
    return False
