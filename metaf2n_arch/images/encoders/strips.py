"""Strips of a picture: the layout that encoders are given, and cutting strips to the height that an encoder needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

import numpy as np


@dataclass(frozen=True)
class Layout:
    """Shape of a picture: height, width, 1 to 4 channels (2 and 4 with alpha), 8 or 16 bits each."""

    height: int
    width: int
    channels: int
    bits: int = 8


Beside = dict[str, Any]
"""Metadata to write: ``icc exif xmp iptc`` (bytes), ``dpi`` (two floats), ``gamma`` (a float)."""


class Encoder(Protocol):
    """Writes one format."""

    def __call__(self, file: BinaryIO, strips: Iterable[np.ndarray], layout: Layout, beside: Beside) -> None:
        """Writes a picture.

        Args:
            file: open for reading and writing, empty.
            strips: (h, W) or (h, W, C), uint8 or uint16, from top to bottom, of any heights.
            layout: of the whole picture.
            beside: metadata, of the kinds that the format holds.
        """


def recut(strips: Iterable[np.ndarray], rows: int) -> Iterator[np.ndarray]:
    """The same picture in strips of `rows` rows; the last may have fewer.

    >>> [len(strip) for strip in recut([np.zeros((5, 2)), np.zeros((4, 2))], 3)]
    [3, 3, 3]
    """
    kept: list[np.ndarray] = []
    height = 0
    for strip in strips:
        kept.append(strip)
        height += len(strip)
        if height >= rows:
            whole = np.concatenate(kept) if len(kept) > 1 else kept[0]
            for top in range(0, height - rows + 1, rows):
                yield whole[top : top + rows]
            height %= rows
            kept = [whole[len(whole) - height :].copy()] if height else []
    if kept:
        yield np.concatenate(kept)


def gathered(strips: Iterable[np.ndarray], layout: Layout) -> np.ndarray:
    """The whole picture, (H, W) or (H, W, C), joined from its strips."""
    shape = (layout.height, layout.width, layout.channels)
    whole = np.empty(shape[:2] if layout.channels == 1 else shape, np.uint16 if layout.bits == 16 else np.uint8)
    top = 0
    for strip in strips:
        whole[top : top + len(strip)] = strip
        top += len(strip)
    return whole
