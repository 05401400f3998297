"""Weights by name: where a file is, and how to get it. Nothing here runs unless it is called."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from metaf2n_arch.utils.checks import DataError, nearest

ENVIRONMENT = 'METAF2N_WEIGHTS'


@dataclass(frozen=True)
class Weights:
    """One published weights file.

    Attributes:
        name: the short name used in option files and on the command line.
        file: the name of the file on the disk.
        url: where it is published.
        size: in bytes, or None if it is not known.
        sha256: or None if nobody published it where we could check: the file is then fetched unverified, which is said.
        licence: of the weights.
        purpose: what the file is for, in a few words.
    """

    name: str
    file: str
    url: str
    size: int | None
    sha256: str | None
    licence: str
    purpose: str


_FACEXLIB = 'https://github.com/xinntao/facexlib/releases/download/v0.1.0/'
_GFPGAN = 'https://github.com/TencentARC/GFPGAN/releases/download/'
_GPEN = 'https://public-vigen-video.oss-cn-shanghai.aliyuncs.com/robin/models/'
_REALESRGAN = 'https://github.com/xinntao/Real-ESRGAN/releases/download/'

TABLE: tuple[Weights, ...] = (
    Weights(
        'retinaface_mobile0.25',
        'detection_mobilenet0.25_Final.pth',
        _FACEXLIB + 'detection_mobilenet0.25_Final.pth',
        1833129,
        '7c417d4a43c5e2100ef40c2fbd2177d2fd0e5090d8e87c0fa31806cfb895c12f',
        'MIT',
        'face detector RetinaFace, MobileNet-0.25',
    ),
)


def table() -> dict[str, Weights]:
    """All known weights by name."""
    return {entry.name: entry for entry in TABLE}


def cache_folder() -> Path:
    """Where weights are fetched to: ``METAF2N_WEIGHTS`` if set, else the user's cache; never site-packages."""
    if os.environ.get(ENVIRONMENT):
        return Path(os.environ[ENVIRONMENT]).expanduser()
    import pooch

    return Path(pooch.os_cache('metaf2n')) / 'weights'


def locate(name_or_path: str | Path) -> Path:
    """Finds a weights file that is already on this machine.

    Looks at the path itself, then for the file of that name (of the table, or any other) in the folder
    ``METAF2N_WEIGHTS``, then in the user's cache.

    Raises:
        DataError: it is in none of these; the message says where to put it and how to fetch it.
    """
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    entry = table().get(str(name_or_path))
    file = entry.file if entry else path.name
    if entry or path.parent == Path():
        for folder in _folders():
            if (folder / file).is_file():
                return folder / file
    raise DataError(_missing(str(name_or_path), entry))


def _folders() -> Iterator[Path]:
    import pooch

    if os.environ.get(ENVIRONMENT):
        yield Path(os.environ[ENVIRONMENT]).expanduser()
    yield Path(pooch.os_cache('metaf2n')) / 'weights'


def _missing(name: str, entry: Weights | None) -> str:
    if entry is None:
        hint = nearest(name, table()) or ' Known names: metaf2n weights list.'
        return f'weights {name}: no such file, and no weights of that name.{hint}'
    checksum = entry.sha256 or 'unknown; not verified'
    return (
        f'weights {entry.name}: the file {entry.file} is not on this machine. Run: metaf2n weights fetch {entry.name}'
        f' (or put it into {cache_folder()}; from {entry.url}, sha256 {checksum}).'
    )


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
