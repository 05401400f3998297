"""Images between files, 8-bit arrays and tensors. Inside the project: RGB, float, [0, 1], (B, 3, H, W)."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.utils.files import write_whole

SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.webp', '.tif', '.tiff', '.ppm', '.pgm')
"""What a file's name must end in to count as an image."""

# Formats whose decoders may return half a picture: how a file starts, and what must stand at its end.
_ENDINGS = {b'\x89PNG': b'IEND', b'\xff\xd8\xff': b'\xff\xd9'}


def is_image_name(name: str | os.PathLike[str]) -> bool:
    """Returns whether a file's name ends in one of `SUFFIXES`, in any case."""
    return str(name).lower().endswith(SUFFIXES)


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Returns the picture in an image file's bytes.

    Grey pictures get three equal channels, an alpha channel is dropped, 16 bits are kept, EXIF orientation is applied.

    Args:
        data: content of the file.
        name: the file as an error should call it.

    Returns:
        (H, W, 3) RGB, uint8 or uint16.

    Raises:
        DataError: the bytes are no complete picture of 8 or 16 bits per channel.
    """
    import cv2

    if not data:
        raise DataError(f'{name} is empty; replace or remove it.')
    for start, end in _ENDINGS.items():
        if data.startswith(start) and end not in data[-(1 << 16) :]:
            raise DataError(f'{name} is cut off before its end; replace or remove it.')
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error:
        bgr = None
    if bgr is None:
        raise DataError(f'{name} cannot be read as an image; replace or remove it.')
    if bgr.dtype not in (np.uint8, np.uint16):
        raise DataError(f'{name} has {bgr.dtype} pixels, expected 8 or 16 bits per channel; convert or remove it.')
    return np.ascontiguousarray(bgr[..., ::-1])


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Returns the picture in a file, as `decode_image` does.

    Raises:
        DataError: the file cannot be opened or read.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f'{path} cannot be opened: {error.strerror or error}.') from None
    return decode_image(data, str(path))


def write_image(path: str | os.PathLike[str], image: np.ndarray) -> None:
    """Writes an (H, W, 3) RGB or (H, W) uint8 picture in the format of the path's suffix, as `write_whole` does.

    Raises:
        DataError: the format is unknown or cannot hold the picture, or the file cannot be written.
    """
    import cv2

    path = Path(path)
    bgr = image[..., ::-1] if image.ndim == 3 else image
    if not is_image_name(path):
        raise DataError(f'{path} has no image suffix, expected one of {", ".join(SUFFIXES)}.')
    try:
        encoded, data = cv2.imencode(path.suffix, np.ascontiguousarray(bgr))
    except cv2.error:  # OpenCV 4 raises where OpenCV 5 returns
        encoded = False
    if not encoded:
        raise DataError(f'{path} cannot be written: {path.suffix} holds no picture of shape {image.shape}; choose png.')
    write_whole(path, data.tobytes())


def image_size(source: str | os.PathLike[str] | bytes, name: str | None = None) -> tuple[int, int]:
    """Returns (height, width) from the header alone, a hundredth of the time of reading the picture.

    Raises:
        DataError: there is no image header.
    """
    from PIL import Image, UnidentifiedImageError

    name = name or ('the image' if isinstance(source, bytes) else str(source))
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            width, height = image.size
            # OpenCV turns these formats by their EXIF orientation, and TIFF not.
            turns = image.format in ('JPEG', 'PNG', 'WEBP') and 'exif' in image.info
            turned = turns and image.getexif().get(0x0112, 1) >= 5
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError, OSError) as error:
        reason = f': {error.strerror}' if isinstance(error, OSError) and error.strerror else ' as an image'
        raise DataError(f'{name} cannot be read{reason}; replace or remove it.') from None
    return (width, height) if turned else (height, width)


def to_tensor(image: np.ndarray) -> Tensor:
    """Returns an (H, W, 3) uint8, uint16 or float array as a (3, H, W) float32 tensor in [0, 1].

    >>> to_tensor(np.full((2, 3, 3), 255, np.uint8)).shape
    torch.Size([3, 2, 3])
    """
    scale = np.iinfo(image.dtype).max if np.issubdtype(image.dtype, np.integer) else 1
    channels_first = np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32)
    return torch.from_numpy(channels_first / np.float32(scale))


def to_8bit(image: np.ndarray) -> np.ndarray:
    """Returns a uint8 or uint16 array with 8 bits, rounded to the nearest: ``x · 255 / 65535``."""
    return image if image.dtype == np.uint8 else ((image.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def to_uint8(image: Tensor) -> np.ndarray:
    """Returns a (3, H, W) or (1, 3, H, W) tensor in [0, 1], rounded and clamped, as an (H, W, 3) uint8 array."""
    image = image[0] if image.ndim == 4 else image
    levels = (image.detach().float().cpu() * 255).round().clamp(0, 255)
    return levels.permute(1, 2, 0).contiguous().numpy().astype(np.uint8)


def luminance(images: Tensor) -> Tensor:
    """Returns ``0.299 R + 0.587 G + 0.114 B`` (BT.601, full range), (..., 1, H, W) from (..., 3, H, W)."""
    return (images * images.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(-3, keepdim=True)


def bicubic_up(images: Tensor, scale: int) -> Tensor:
    """Returns (B, C, H, W) images enlarged `scale` times (half-pixel centres, a = -0.75), clamped to [0, 1]."""
    return F.interpolate(images, scale_factor=scale, mode='bicubic', align_corners=False).clamp(0, 1)


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Returns (B, C, H, W) images reflected (edge repeated where too small) at bottom and right to whole multiples."""
    height, width = images.shape[-2:]
    down, right = -height % multiple, -width % multiple
    mode = 'reflect' if down < height and right < width else 'replicate'
    return F.pad(images, (0, right, 0, down), mode=mode) if down or right else images


def gradient_energy(image: np.ndarray) -> float:
    """Returns the log of the mean squared gradient, the authors' measure of how much there is to see in a patch.

    ``log mean((I[y,x] - I[y+1,x])² + (I[y,x] - I[y,x+1])²)`` over pixels and channels, I in [0, 1]; a flat patch has
    minus infinity. Patches under -6 teach nothing.

    Args:
        image: (H, W, C) float in [0, 1], at least 2x2.
    """
    corner = image[:-1, :-1]
    squares = (corner - image[1:, :-1]) ** 2 + (corner - image[:-1, 1:]) ** 2
    mean = float(squares.mean(dtype=np.float64))
    return float(np.log(mean)) if mean > 0 else -np.inf
