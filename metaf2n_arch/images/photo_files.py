"""Photo files with all they hold: grey, alpha, 16 bits, orientation, colour profile, EXIF. Written whole or not."""

from __future__ import annotations

import io
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metaf2n_arch.images.arrays import to_8bit
from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.utils.files import write_whole

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp', '.tif', '.tiff', '.bmp')
"""What a file's name must end in to count as a photo, in any case."""

FORMATS = ('PNG', 'JPEG', 'WEBP', 'TIFF', 'BMP')
ORIENTATION = 0x0112
# Description, maker, model, software, date, artist, copyright, camera settings, place. The others describe the file
# that was read, and would be wrong in the one that is written.
_KEPT_EXIF = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298, 0x8769, 0x8825)
# Colour spaces that are not RGB: their profile does not describe what comes out of converting them.
_CONVERTED = ('CMYK', 'YCbCr', 'LAB', 'HSV')


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo as it should be looked at: turned upright.

    Attributes:
        pixels: (H, W) grey, (H, W, 2) grey and alpha, (H, W, 3) RGB, (H, W, 4) RGB and alpha; uint8 or uint16.
        icc: colour profile of the pixels.
        exif: what the camera noted, without the orientation, which has been applied.
        notes: what a user should know, for example that further pages were left out.
    """

    pixels: np.ndarray
    icc: bytes | None = None
    exif: bytes | None = None
    notes: tuple[str, ...] = ()


def read_photo(path: str | os.PathLike[str]) -> Photo:
    """Reads a PNG, JPEG, WebP, TIFF or BMP file.

    Raises:
        DataError: it cannot be opened, is cut off, or is no such image of 8 or 16 bits.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        data = Path(path).read_bytes()
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            deep = _is_deep(image, data, str(path))
            turned = image.getexif().get(ORIENTATION, 1)
            image.load()
            return _photo(image, data, deep, turned, str(path))
    except UnidentifiedImageError:
        kinds = 'PNG, JPEG, WebP, TIFF or BMP'
        raise DataError(f'{path} is no {kinds} image, whatever its name says; replace or remove it.') from None
    except DataError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        strerror = getattr(error, 'strerror', None)
        reason = strerror or (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f'{path} cannot be {"opened" if strerror else "read"}: {reason.rstrip(".")}.') from None


def _is_deep(image: Image.Image, data: bytes, name: str) -> bool:
    """Whether a channel has 16 bits; Pillow would silently drop half of them where there is more than one channel."""
    if image.format == 'PNG':
        return data[24] == 16
    if image.format != 'TIFF':
        return False
    tags: Any = getattr(image, 'tag_v2', {})
    bits, kinds = tags.get(258, (8,)), tags.get(339, (1,))
    if max(bits) > 16 or any(kind != 1 for kind in kinds):
        raise DataError(f'{name} has {max(bits)}-bit or signed values, expected 8 or 16 bits per channel; convert it.')
    return max(bits) == 16


def _photo(image: Image.Image, data: bytes, deep: bool, turned: int, name: str) -> Photo:
    from PIL import ImageOps

    notes = []
    frames = getattr(image, 'n_frames', 1)
    if frames > 1 and image.format != 'MPO':  # phones put previews and depth maps behind the photo
        notes.append(f'the first of {frames} images in the file')
    icc = image.info.get('icc_profile') if image.mode not in _CONVERTED else None
    exif = image.getexif()
    upright = ImageOps.exif_transpose(image)
    for tag in [tag for tag in exif if tag not in _KEPT_EXIF]:
        del exif[tag]
    pixels = _shallow(upright)
    if deep and pixels.dtype != np.uint16:
        pixels = _deep(data, turned, pixels, image.mode, name)
    return Photo(pixels, icc, exif.tobytes() if len(exif) else None, tuple(notes))


def _shallow(image: Image.Image) -> np.ndarray:
    if image.mode.startswith('I;16'):
        return np.asarray(image).astype(np.uint16)
    if image.mode in ('I', 'F'):
        raise DataError(f'image of the kind {image.mode}, expected 8 or 16 bits per channel; convert it.')
    see_through = 'transparency' in image.info or image.mode in ('LA', 'La', 'PA', 'RGBA', 'RGBa')
    grey = image.mode in ('1', 'L', 'LA', 'La')
    if image.mode == 'CMYK':
        image = _from_cmyk(image)
    wanted = ('LA' if see_through else 'L') if grey else ('RGBA' if see_through else 'RGB')
    return np.array(image if image.mode == wanted else image.convert(wanted))


def _from_cmyk(image: Image.Image) -> Image.Image:
    """Through the file's own profile where there is one: the plain formula gives wrong colours."""
    from PIL import ImageCms

    profile = image.info.get('icc_profile')
    if not profile:
        return image.convert('RGB')
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile('sRGB'), outputMode='RGB')
    except (ImageCms.PyCMSError, OSError):
        converted = None
    return image.convert('RGB') if converted is None else converted


def _deep(data: bytes, turned: int, shallow: np.ndarray, mode: str, name: str) -> np.ndarray:
    """All 16 bits, turned like `shallow`: OpenCV turns some formats of its own accord, depending on its version."""
    import cv2

    try:
        read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        read = None
    if read is None or read.dtype != np.uint16:
        raise DataError(f'{name} cannot be read with its 16 bits; save it as a plain 16-bit PNG.')
    if read.ndim == 3:
        read = read[..., [2, 1, 0, 3][: read.shape[2]]]
        if mode in ('LA', 'L') and read.shape[2] >= 3:
            read = read[..., [0, 3] if read.shape[2] == 4 else 0]
    fitting: list[Any] = [each for each in (read, upright(read, turned)) if each.shape == shallow.shape]
    if not fitting:
        raise DataError(f'{name} cannot be read with its 16 bits; save it as a plain 16-bit PNG.')
    best = min(fitting, key=lambda each: np.abs((each >> 8).astype(np.int16) - shallow).mean())
    return np.ascontiguousarray(best)


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turns (H, W, ...) pixels as the EXIF orientation 1 to 8 asks."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return image[:, ::-1] if orientation in (2, 3, 6, 7) else image


def write_photo(path: str | os.PathLike[str], photo: Photo) -> None:
    """Writes a photo in the format of the path's suffix, all of it or nothing.

    PNG and TIFF keep 16 bits, other formats get 8. JPEG and WebP are written at quality 95, JPEG without subsampling
    of its colours.

    Raises:
        DataError: the format cannot hold the photo, or the file cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    channels = photo.pixels.shape[2] if photo.pixels.ndim == 3 else 1
    if suffix not in SUFFIXES:
        raise DataError(f'{path} has no photo suffix, expected one of {", ".join(SUFFIXES)}.')
    if channels in (2, 4) and suffix in ('.jpg', '.jpeg', '.bmp'):
        raise DataError(f'{path}: {suffix[1:]} holds no transparency; choose png, webp or tiff.')
    try:
        if suffix == '.png' and channels != 2:
            data = _png(photo)
        elif suffix in ('.tif', '.tiff') and photo.pixels.dtype == np.uint16:
            data = _deep_tiff(photo)
        else:
            data = _with_pillow(photo, suffix)
    except (OSError, ValueError) as error:
        raise DataError(f'{path} cannot be written as {suffix[1:]}: {str(error).splitlines()[0]}.') from None
    write_whole(path, data)


def _png(photo: Photo) -> bytes:
    """Through OpenCV, which knows 16 bits and is several times faster; the chunks it does not write are put in."""
    import cv2

    pixels = photo.pixels
    if pixels.ndim == 3:
        pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[2]]] if pixels.shape[2] > 1 else pixels[..., 0]
    _, encoded = cv2.imencode('.png', np.ascontiguousarray(pixels))
    data = encoded.tobytes()
    chunks = b''
    if photo.icc:
        chunks += png_chunk(b'iCCP', b'ICC profile\0\0' + zlib.compress(photo.icc))
    if photo.exif:
        chunks += png_chunk(b'eXIf', photo.exif.removeprefix(b'Exif\0\0'))
    after_header = 8 + 25
    return data[:after_header] + chunks + data[after_header:]


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file: length, kind, content, checksum."""
    return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))


def _deep_tiff(photo: Photo) -> bytes:
    import tifffile

    channels = photo.pixels.shape[2] if photo.pixels.ndim == 3 else 1
    options: dict[str, Any] = {'photometric': 'rgb' if channels >= 3 else 'minisblack'}
    if channels in (2, 4):
        options['extrasamples'] = ['unassalpha']
    if channels == 2:
        options['planarconfig'] = 'contig'
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, photo.pixels, iccprofile=photo.icc, compression='zlib', metadata=None, **options)
    return buffer.getvalue()


def _with_pillow(photo: Photo, suffix: str) -> bytes:
    from PIL import Image

    pixels = to_8bit(photo.pixels)
    pixels = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    image = Image.fromarray(pixels)
    options: dict[str, Any] = {}
    if suffix in ('.jpg', '.jpeg'):
        options = {'format': 'JPEG', 'quality': 95, 'subsampling': 0}
    elif suffix == '.webp':
        options = {'format': 'WEBP', 'quality': 95}
    elif suffix in ('.tif', '.tiff'):
        options = {'format': 'TIFF', 'compression': 'tiff_adobe_deflate'}
    else:
        options = {'format': suffix[1:].upper()}
    if photo.icc and suffix != '.bmp':
        options['icc_profile'] = photo.icc
    if photo.exif and suffix != '.bmp':
        options['exif'] = photo.exif
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()
