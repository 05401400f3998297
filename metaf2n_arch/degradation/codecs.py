"""WebP, AVIF and video compression of an image batch, by the real encoders: Pillow's, and FFmpeg's through PyAV."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metaf2n_arch.degradation.jpeg import jpeg
from metaf2n_arch.utils.checks import DataError

# FFmpeg's encoder and decoder. The old codecs have a quantiser, the new ones a rate factor.
_VIDEO = {
    'mpeg2': ('mpeg2video', 'mpeg2video'),
    'mpeg4': ('mpeg4', 'mpeg4'),
    'h264': ('libx264', 'h264'),
    'hevc': ('libx265', 'hevc'),
}
_BY_QUANTISER = ('mpeg2', 'mpeg4')


def compress(images: Tensor, codec: str, quality: int) -> Tensor:
    """Returns the images after compression and decompression.

    Args:
        images: (N, 3, H, W) RGB in [0, 1], float32, any device; all but JPEG are encoded on the CPU, image by image.
        codec: one of `CodecName`. A video codec writes one key frame in 4:2:0.
        quality: 1 to 100 for JPEG, WebP and AVIF, more is better; the quantiser 1 to 31 for MPEG, and the rate factor
            (CRF) 1 to 51 for H.264 and HEVC, less is better.

    Returns:
        (N, 3, H, W) in [0, 1], whole multiples of 1/255.

    Raises:
        DataError: the installed Pillow or PyAV has no such encoder.
    """
    if codec == 'jpeg':
        return jpeg(images, quality)
    require_encoder(codec)
    run: Callable[[np.ndarray, str, int], np.ndarray] = _as_video if codec in _VIDEO else _as_picture
    pixels = torch.round(images.clamp(0, 1) * 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    coded = torch.from_numpy(np.stack([run(picture, codec, quality) for picture in pixels]))
    return coded.to(images.device).permute(0, 3, 1, 2).contiguous().float() / 255


def require_encoder(codec: str) -> None:
    """Raises `DataError` if the encoder is missing."""
    if codec in _VIDEO:
        try:
            from av.codec import codecs_available
        except ImportError:
            raise DataError(f'compression {codec} needs PyAV, which is not installed: pip install av.') from None
        if _VIDEO[codec][0] not in codecs_available:
            raise DataError(
                f'compression {codec}: this PyAV has no encoder {_VIDEO[codec][0]}; install its wheel: '
                'pip install --force-reinstall --only-binary av av.'
            )
    elif codec in ('webp', 'avif'):
        from PIL import features

        if not features.check(codec):
            raise DataError(f'compression {codec}: this Pillow cannot write it; install pillow>=11.3.')


def _as_picture(pixels: np.ndarray, codec: str, quality: int) -> np.ndarray:
    from PIL import Image

    file = io.BytesIO()
    options = {'max_threads': 1} if codec == 'avif' else {}
    Image.fromarray(pixels).save(file, codec.upper(), quality=quality, **options)
    return np.asarray(Image.open(file).convert('RGB'))


def _as_video(pixels: np.ndarray, codec: str, quality: int) -> np.ndarray:
    """Codes one key frame; the edge of an odd side is repeated first, because 4:2:0 needs even sides."""
    import av

    height, width = pixels.shape[:2]
    even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode='edge')
    coder, reader = _VIDEO[codec]
    encoder: Any = av.CodecContext.create(coder, 'w')
    encoder.width, encoder.height, encoder.pix_fmt = even.shape[1], even.shape[0], 'yuv420p'
    encoder.framerate, encoder.time_base = Fraction(25), Fraction(1, 25)
    encoder.thread_count = 1
    if codec in _BY_QUANTISER:
        encoder.qmin = encoder.qmax = quality
    else:
        encoder.options = {'crf': str(quality), 'x265-params': 'log-level=none:pools=1'}
    frame = av.VideoFrame.from_ndarray(even, 'rgb24').reformat(format='yuv420p')
    frame.pts = 0
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    decoder: Any = av.CodecContext.create(reader, 'r')
    frames = [shown for packet in (*packets, None) for shown in decoder.decode(packet)]
    return frames[0].to_ndarray(format='rgb24')[:height, :width]
