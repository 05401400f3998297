"""Formats that Pillow writes from a whole picture: WebP and BMP, whose sides are limited, and AVIF."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np

from metaf2n_arch.images.encoders.strips import Beside, Encoder, Layout, gathered


def with_pillow(name: str, **fixed: Any) -> Encoder:
    """The encoder of the format that Pillow calls `name`, with these options; see `Encoder`."""

    def encode(file: BinaryIO, strips: Iterable[np.ndarray], layout: Layout, beside: Beside) -> None:
        from PIL import Image

        options = {{'icc': 'icc_profile'}.get(key, key): value for key, value in beside.items()}
        Image.fromarray(gathered(strips, layout)).save(file, name, **fixed, **options)

    return encode
