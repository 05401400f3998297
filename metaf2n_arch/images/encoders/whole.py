"""Encoders of Pillow, which need the whole picture in memory: WebP, AVIF and BMP, whose sides are limited."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np

from metaf2n_arch.images.encoders.strips import Beside, Encoder, Layout, gathered


def with_pillow(name: str, **fixed: Any) -> Encoder:
    """An `Encoder` for the format that Pillow calls `name`; `fixed` are options of Pillow's ``save``."""

    def encode(file: BinaryIO, strips: Iterable[np.ndarray], layout: Layout, beside: Beside) -> None:
        from PIL import Image

        options = {{'icc': 'icc_profile'}.get(key, key): value for key, value in beside.items()}
        Image.fromarray(gathered(strips, layout)).save(file, name, **fixed, **options)

    return encode
