"""A photo in memory: its pixels and its metadata."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

ORIENTATION, EXIF_IFD, GPS_IFD = 0x0112, 0x8769, 0x8825
# Description, maker, model, software, date, artist, copyright, camera settings, GPS place. The other tags describe the
# file that was read, and would be wrong in the file that is written.
KEPT_EXIF = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298, EXIF_IFD, GPS_IFD)
_SIZES = (0xA002, 0xA003)  # width and height of the file that was read, among the camera settings
_IPTC_RESOURCE = 0x0404
_IPTC_TAG, _PHOTOSHOP_TAG, _XMP_TAG = 33723, 34377, 700
_TURNED = re.compile(rb'(tiff:Orientation(?:="|>))[0-9]')


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo, turned upright.

    Attributes:
        pixels: (H, W) grey, (H, W, 2) grey and alpha, (H, W, 3) RGB, (H, W, 4) RGB and alpha; uint8 or uint16.
        icc: colour profile of the pixels.
        exif: EXIF, without the orientation, which has been applied to the pixels.
        notes: notes for the user, for example that further pages of the file were left out.
        xmp: XMP packet, its orientation set to upright.
        iptc: IPTC-NAA records.
        dpi: pixels per inch, horizontal and vertical.
        gamma: exponent of the encoding, as in PNG's gAMA chunk: 0.45455 for sRGB.
    """

    pixels: np.ndarray
    icc: bytes | None = None
    exif: bytes | None = None
    notes: tuple[str, ...] = ()
    xmp: bytes | None = None
    iptc: bytes | None = None
    dpi: tuple[float, float] | None = None
    gamma: float | None = None

    @property
    def channels(self) -> int:
        """1 to 4."""
        return self.pixels.shape[2] if self.pixels.ndim == 3 else 1

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return self.channels in (2, 4)

    @property
    def is_opaque(self) -> bool:
        """Whether there is no alpha, or alpha is at its maximum everywhere."""
        return not self.has_alpha or bool((self.pixels[..., -1] == np.iinfo(self.pixels.dtype).max).all())


def orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8 of an opened image; 1 where it is absent or invalid.

    Reads only the header. A PNG file whose header has no EXIF is read as a whole.
    """
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged EXIF can raise any exception; the pixels can still be read
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turns (H, W, ...) pixels upright, by their EXIF orientation 1 to 8."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return image[:, ::-1] if orientation in (2, 3, 6, 7) else image


def exif_of(image: Image.Image) -> bytes | None:
    """EXIF of an opened image, reduced to the tags `KEPT_EXIF`; None if none of them is there."""
    exif = image.getexif()
    for tag in [tag for tag in exif if tag not in KEPT_EXIF]:
        del exif[tag]
    if EXIF_IFD in exif:
        settings = exif.get_ifd(EXIF_IFD)
        for tag in _SIZES:
            settings.pop(tag, None)
    return exif.tobytes() if len(exif) else None


def xmp_of(image: Image.Image) -> bytes | None:
    """XMP packet of an opened image, with its orientation set to 1, as the pixels are turned upright."""
    xmp = image.info.get('xmp') or image.info.get('XML:com.adobe.xmp')
    if isinstance(xmp, tuple):
        xmp = xmp[0]
    if isinstance(xmp, str):
        xmp = xmp.encode()
    return _TURNED.sub(rb'\g<1>1', xmp) if xmp else None


def iptc_of(image: Image.Image) -> bytes | None:
    """IPTC-NAA records of an opened JPEG or TIFF file."""
    tags = getattr(image, 'tag_v2', {})
    plain = tags.get(_IPTC_TAG)
    if isinstance(plain, bytes):
        return plain
    resources = image.info.get('photoshop')
    if isinstance(resources, dict):
        found = resources.get(_IPTC_RESOURCE)
        return found if isinstance(found, bytes) else None
    return None


def dpi_of(image: Image.Image) -> tuple[float, float] | None:
    """Pixels per inch, horizontal and vertical; None where the file has no resolution in an absolute unit."""
    dpi = image.info.get('dpi')
    try:
        across, down = (float(value) for value in dpi or ())
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 0 < across < 1e6 and 0 < down < 1e6 else None
