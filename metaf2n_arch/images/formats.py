"""Image file formats: their suffixes, what reads and writes them, and what their files can hold."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

from metaf2n_arch.utils.checks import OptionError
from metaf2n_arch.utils.extras import install_command


@dataclass(frozen=True)
class Format:
    """An image file format.

    Attributes:
        name: as ``--format`` spells it, and as messages do.
        suffixes: of its files, in lower case.
        readers: Pillow's names for the format.
        written: whether photos can be written in this format; otherwise it is only read.
        alpha, deep: whether transparency and 16 bits can be written.
        longest: longest side that can be written, in pixels.
        keeps: metadata that is written: ``icc exif xmp iptc dpi gamma``.
        plugin: module with which Pillow reads the format; comes with the extra ``formats``.
    """

    name: str
    suffixes: tuple[str, ...]
    readers: tuple[str, ...]
    written: bool = False
    alpha: bool = False
    deep: bool = False
    longest: int = 2**31 - 1
    keeps: frozenset[str] = frozenset()
    plugin: str | None = None


def _keeps(text: str) -> frozenset[str]:
    return frozenset(text.split())


FORMATS = (
    Format('png', ('.png', '.apng'), ('PNG',), True, True, True, keeps=_keeps('icc exif xmp dpi gamma')),
    Format(
        'jpg',
        ('.jpg', '.jpeg', '.jpe', '.jfif', '.mpo'),
        ('JPEG', 'MPO'),
        True,
        longest=65500,
        keeps=_keeps('icc exif xmp iptc dpi'),
    ),
    Format('webp', ('.webp',), ('WEBP',), True, True, longest=16383, keeps=_keeps('icc exif xmp')),
    Format('tiff', ('.tif', '.tiff'), ('TIFF',), True, True, True, keeps=_keeps('icc exif xmp iptc dpi')),
    Format('bmp', ('.bmp', '.dib'), ('BMP', 'DIB'), True, longest=32767, keeps=_keeps('dpi')),
    Format('avif', ('.avif', '.avifs'), ('AVIF',), True, True, longest=65536, keeps=_keeps('icc exif xmp')),
    Format('gif', ('.gif',), ('GIF',)),
    Format('ppm', ('.ppm', '.pgm', '.pbm', '.pnm'), ('PPM',)),
    Format('jp2', ('.jp2', '.j2k', '.j2c', '.jpc', '.jpf', '.jpx'), ('JPEG2000',)),
    Format('tga', ('.tga',), ('TGA',)),
    Format('heic', ('.heic', '.heif', '.hif'), ('HEIF',), plugin='pillow_heif'),
    Format('jxl', ('.jxl',), ('JXL',), plugin='pillow_jxl'),
)
SUFFIXES = tuple(suffix for each in FORMATS for suffix in each.suffixes)
"""Suffixes of image files, in lower case; names are compared without regard to case."""

WRITTEN = tuple(suffix for each in FORMATS if each.written for suffix in each.suffixes)
"""Suffixes of the formats that photos are written in."""

_BY_SUFFIX = {suffix: each for each in FORMATS for suffix in each.suffixes}


def is_image_name(name: str | os.PathLike[str]) -> bool:
    """Whether a file's name ends in one of `SUFFIXES`, in any case."""
    return format_of(name) is not None


def format_of(name: str | os.PathLike[str]) -> Format | None:
    """The format by the suffix of a file's name; None if the suffix belongs to no image format.

    >>> format_of('a/b.JPE').name
    'jpg'
    """
    return _BY_SUFFIX.get(os.path.splitext(os.fspath(name))[1].lower())


def written_suffix(name: str) -> str:
    """The suffix of results for a format that a user names, such as ``jpeg`` or ``.TIFF``.

    Raises:
        OptionError: photos cannot be written in this format.
    """
    suffix = '.' + name.lower().removeprefix('.')
    if suffix not in WRITTEN:
        known = ', '.join(each.suffixes[0][1:] for each in FORMATS if each.written)
        raise OptionError(f'format is {suffix[1:]!r}, expected one of {known}.')
    return suffix


@cache
def readers() -> tuple[str, ...]:
    """Pillow's names for all formats that can be read here. The first call registers the installed plug-ins."""
    from PIL import Image

    Image.init()
    names = [name for each in FORMATS if each.plugin is None or _plug_in(each.plugin) for name in each.readers]
    # An MPO file is opened as the JPEG that it starts with, and AVIF is missing from some builds.
    return tuple(name for name in names if name in Image.OPEN)


def _plug_in(name: str) -> bool:
    try:
        module = import_module(name)
    except ImportError:
        return False
    if hasattr(module, 'register_heif_opener'):
        module.register_heif_opener()
    return True


def lacking_plugin(name: str | os.PathLike[str]) -> str | None:
    """What to install before a file of this name can be read; None if nothing is missing."""
    found = format_of(name)
    if found is None or found.plugin is None or set(found.readers) <= set(readers()):
        return None
    return f'{found.name} needs {found.plugin.replace("_", "-")}; run: {install_command("formats")}'


def allow_pixels(megapixels: float | None) -> None:
    """Sets the largest image that this process reads; None keeps Pillow's limit of 179 megapixels.

    Pillow refuses larger images, because a file of a few kilobytes can expand to gigabytes of pixels.
    """
    if megapixels is not None:
        from PIL import Image

        Image.MAX_IMAGE_PIXELS = max(1, int(megapixels * 1e6 / 2))  # Pillow refuses images of twice this size


def name_too_long(path: Path) -> str | None:
    """Why a file's name is too long for its file system; None if it is not."""
    length = len(os.fsencode(path.name))
    try:
        most = os.pathconf(next(p for p in path.absolute().parents if p.exists()), 'PC_NAME_MAX')
    except (AttributeError, OSError, ValueError):
        most = 255
    return f'its name has {length} bytes, {most} are allowed here; shorten it' if length > most else None
