"""Codecs beside JPEG: each gives what its encoder's files give, draws its own quality, and is refused where missing."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
import torch
from PIL import Image, features

from metaf2n_arch.degradation import DegradationConfig, DegradationParams, apply
from metaf2n_arch.degradation.codecs import compress
from metaf2n_arch.degradation.jpeg import jpeg
from metaf2n_arch.utils.checks import DataError, OptionError
from metaf2n_arch.utils.options import parse_block

PICTURES = ['webp', 'avif']
# Of the first draws from the defaults with seed 5, before there was any codec but JPEG.
SEEDS = [4012574980978173065, 1107428736064382211, 2911985062180514382, 2739589983599898331]
VIDEO = {'mpeg2': 'mpeg2video', 'mpeg4': 'mpeg4', 'h264': 'libx264', 'hevc': 'libx265'}


def needs(codec: str) -> None:
    if codec in VIDEO:
        pytest.importorskip('av', reason='PyAV, which video codecs need, is not installed')
    elif not features.check(codec):
        pytest.skip(f'this Pillow cannot write {codec}')


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return -10 * (a - b).square().mean().log10().item()


@pytest.fixture
def photos(astronaut_tensor) -> torch.Tensor:
    """Two windows of odd sides."""
    return torch.cat([astronaut_tensor[..., y : y + 61, 150:235] for y in (30, 200)])


@pytest.mark.parametrize('codec', PICTURES)
@pytest.mark.parametrize('quality', [20, 80])
def test_pictures_are_what_a_file_of_the_format_shows(photos, tmp_path, codec, quality) -> None:
    needs(codec)
    ours = compress(photos, codec, quality)
    for picture, coded in zip(photos, ours):
        pixels = (picture * 255).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(tmp_path / f'picture.{codec}', quality=quality)
        shown = np.asarray(Image.open(tmp_path / f'picture.{codec}').convert('RGB'))
        assert np.array_equal((coded * 255).round().byte().permute(1, 2, 0).numpy(), shown)


@pytest.mark.parametrize('codec', VIDEO)
def test_video_frames_are_what_a_container_shows(photos, codec) -> None:
    """The oracle goes through a file: a muxer, another encoder object, a demuxer."""
    needs(codec)
    import av

    photo = photos[:1, :, :60, :84]
    quality = 6 if codec.startswith('mpeg') else 28
    file = io.BytesIO()
    with av.open(file, 'w', format='matroska') as container:
        options = {} if codec.startswith('mpeg') else {'crf': '28', 'x265-params': 'log-level=none:pools=1'}
        stream = container.add_stream(VIDEO[codec], rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = 60, 84, 'yuv420p'
        stream.thread_count = 1
        if codec.startswith('mpeg'):
            stream.codec_context.qmin = stream.codec_context.qmax = quality
        pixels = (photo[0] * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
        frame = av.VideoFrame.from_ndarray(pixels, 'rgb24').reformat(format='yuv420p')
        frame.pts = 0
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    file.seek(0)
    with av.open(file) as container:
        shown = next(container.decode(video=0)).to_ndarray(format='rgb24')
    ours = (compress(photo, codec, quality)[0] * 255).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(ours, shown)


@pytest.mark.parametrize('codec', [*PICTURES, *VIDEO])
def test_better_quality_is_nearer_and_every_call_gives_the_same(photos, codec) -> None:
    needs(codec)
    good, bad = (90, 10) if codec in PICTURES else ((2, 25) if codec.startswith('mpeg') else (12, 42))
    results = [compress(photos, codec, quality) for quality in (good, bad)]
    assert psnr(results[0], photos) > psnr(results[1], photos) + 3 > 20
    assert torch.equal(compress(photos, codec, good), results[0])
    assert results[0].shape == photos.shape
    torch.testing.assert_close((results[0] * 255).round() / 255, results[0], rtol=0, atol=1e-7)


def test_jpeg_stays_the_one_of_old(photos) -> None:
    assert torch.equal(compress(photos, 'jpeg', 40), jpeg(photos, 40))


def config(**stage2) -> DegradationConfig:
    plain = {'blur_prob': 0, 'resize_prob': {'keep': 1}, 'noise_prob': {'none': 1}, 'jpeg_prob': 0}
    block = {'scale': 1, 'stage1': plain, 'stage2': {**plain, 'jpeg_prob': 1, **stage2}, 'final_sinc_prob': 0}
    return parse_block(DegradationConfig, block, 'degradation')


@pytest.mark.parametrize('codec', PICTURES)
def test_a_degradation_of_the_codec_alone_is_the_codec(photos, codec) -> None:
    needs(codec)
    params = config(compression_prob={codec: 1}, **{f'{codec}_quality': [35, 35]}).sample(np.random.default_rng(0))
    assert torch.equal(apply(photos, params), compress(photos, codec, 35))
    again = DegradationParams.from_tensors(params.to_tensors())
    assert torch.equal(apply(photos, again), apply(photos, DegradationParams.from_dict(params.to_dict())))


def test_codecs_and_qualities_are_drawn_as_configured() -> None:
    needs('avif')
    mixed = config(compression_prob={'jpeg': 0.5, 'webp': 0.3, 'avif': 0.2}, webp_quality=[60, 62], avif_quality=[1, 3])
    rng = np.random.default_rng(0)
    stages = [mixed.sample(rng).stages[1] for _ in range(1500)]
    shares = [np.mean([s.codec == codec for s in stages]) for codec in ('jpeg', 'webp', 'avif')]
    np.testing.assert_allclose(shares, [0.5, 0.3, 0.2], atol=0.04)
    drawn = {codec: {s.quality for s in stages if s.codec == codec} for codec in ('jpeg', 'webp', 'avif')}
    assert drawn['webp'] == {60, 61, 62}
    assert drawn['avif'] == {1, 2, 3}
    assert drawn['jpeg'] == set(range(30, 96))


def test_defaults_draw_what_they_always_did() -> None:
    """Seeds come last in a draw: one number more or less before them, and they would differ."""
    rng = np.random.default_rng(5)
    draws = [DegradationConfig().sample(rng) for _ in range(4)]
    assert [d.seed for d in draws] == SEEDS
    assert {s.codec for d in draws for s in d.stages} == {'jpeg'}
    assert set(draws[0].to_dict()['stages'][0]) == {
        'factor', 'mode', 'noise', 'strength', 'gray', 'quality', 'kernel'
    }  # fmt: skip


def test_a_missing_encoder_is_one_line_before_training(monkeypatch, photos) -> None:
    monkeypatch.setitem(sys.modules, 'av', None)
    monkeypatch.setitem(sys.modules, 'av.codec', None)
    with pytest.raises(OptionError, match=r'stage2.compression_prob.*needs PyAV.*pip install av'):
        config(compression_prob={'h264': 1})
    with pytest.raises(DataError, match='pip install av'):
        compress(photos, 'hevc', 30)
    monkeypatch.setattr(features, 'check', lambda name: False)
    with pytest.raises(OptionError, match='this Pillow cannot write it'):
        config(compression_prob={'avif': 1})
    assert config(compression_prob={'jpeg': 1, 'h264': 0}).stage2.jpeg_prob == 1


@pytest.mark.parametrize(
    ('stage', 'message'),
    [
        ({'compression_prob': {'web': 1}}, 'compression_prob.web'),
        ({'compression_prob': {'jpeg': 0.4}}, 'sum to 1'),
        ({'video_crf': [0, 30]}, 'video_crf'),
        ({'mpeg_quantiser': [9, 2]}, 'low <= high'),
        ({'dither_levels': [1, 4]}, 'dither_levels'),
    ],
)
def test_wrong_options_are_refused(stage, message) -> None:
    with pytest.raises(OptionError, match=message):
        config(**stage)
