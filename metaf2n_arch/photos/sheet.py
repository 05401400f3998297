"""Comparison images: LQ | not adapted | adapted side by side, whole or in strips."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from metaf2n_arch.images.kinds import as_rgb

GAP = 8
TITLES = ('LQ', 'not adapted')


def comparison(lq: np.ndarray, unadapted: np.ndarray, adapted: np.ndarray, last: str = 'adapted') -> np.ndarray:
    """LQ | not adapted | adapted, side by side in one (H, W, 3) uint8 RGB image.

    Args:
        lq: the photo; enlarged to the size of `adapted` by nearest neighbour.
        unadapted, adapted: the results, (H, W), (H, W, 2), (H, W, 3) or (H, W, 4), uint8 or uint16.
        last: title of the third picture.
    """
    size = adapted.shape[0], adapted.shape[1]
    return np.concatenate(list(sheet_strips(lq, [(unadapted, adapted)], size, last)))


def sheet_shape(size: tuple[int, int]) -> tuple[int, int, int]:
    """Shape of the comparison, from height and width of the results."""
    return size[0] + 2 * _caption(size[1]), 3 * size[1] + 2 * GAP, 3


def sheet_strips(
    lq: np.ndarray, pairs: Iterable[tuple[np.ndarray, np.ndarray]], size: tuple[int, int], last: str = 'adapted'
) -> Iterator[np.ndarray]:
    """The `comparison` in strips, from strips (not adapted, adapted) of results of this height and width."""
    height, width = size
    yield _titles(width, (*TITLES, last))
    small = shown(lq)
    columns = np.arange(width) * small.shape[1] // width
    gap = np.full((1, GAP, 3), 255, np.uint8)
    top = 0
    for unadapted, adapted in pairs:
        rows = np.arange(top, top + len(adapted)) * small.shape[0] // height
        between = np.broadcast_to(gap, (len(adapted), GAP, 3))
        yield np.concatenate([small[rows][:, columns], between, shown(unadapted), between, shown(adapted)], axis=1)
        top += len(adapted)


def shown(image: np.ndarray) -> np.ndarray:
    """A uint8 or uint16 photo as (H, W, 3) uint8 RGB; transparent pixels are blended with white."""
    colours = as_rgb(image).astype(np.float32) / np.iinfo(image.dtype).max
    if image.ndim == 3 and image.shape[2] in (2, 4):
        alpha = image[..., -1:].astype(np.float32) / np.iinfo(image.dtype).max
        colours = colours * alpha + 1 - alpha
    return np.round(colours * 255).astype(np.uint8)


def _caption(width: int) -> int:
    return max(16, min(48, width // 20))


def _titles(width: int, titles: tuple[str, ...]) -> np.ndarray:
    from PIL import Image, ImageDraw, ImageFont

    caption = _caption(width)
    sheet = Image.new('RGB', (3 * width + 2 * GAP, 2 * caption), 'white')
    draw = ImageDraw.Draw(sheet)
    for number, title in enumerate(titles):
        left = number * (width + GAP)
        draw.text((left + caption // 2, caption // 2), title, 'black', ImageFont.load_default(caption))
    return np.array(sheet)
