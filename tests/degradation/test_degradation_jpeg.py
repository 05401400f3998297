"""JPEG against libjpeg, through Pillow and OpenCV, on real photographs."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from metaf2n_arch.degradation.jpeg import jpeg, quantisation_table


def to_tensor(photo: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(photo)).permute(2, 0, 1)[None].float() / 255


def to_bytes(images: torch.Tensor) -> np.ndarray:
    return (images[0] * 255).permute(1, 2, 0).round().numpy().astype(np.uint8)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2)))


def pillow_jpeg(photo: np.ndarray, quality: int) -> np.ndarray:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(photo).save(file, 'JPEG', quality=quality)
    return np.array(Image.open(file))


@pytest.fixture(scope='module')
def coffee() -> np.ndarray:
    from skimage import data

    return np.ascontiguousarray(data.coffee()[:301, :403])


@pytest.mark.parametrize('quality', [10, 30, 50, 75, 95, 100])
def test_matches_libjpeg_far_better_than_the_loss_itself(astronaut, coffee, quality):
    for photo in (astronaut, coffee):
        wanted = pillow_jpeg(photo, quality)
        ours = to_bytes(jpeg(to_tensor(photo), quality))
        assert psnr(ours, wanted) > 47
        assert psnr(ours, wanted) > psnr(photo, wanted) + 6


@pytest.mark.parametrize('quality', [75, 100])
def test_colours_far_from_grey_are_libjpegs(quality):
    """Tiles of 125 colours: no frequency but 0 inside them, so that only the change of colour space can differ."""
    levels = np.array([0, 64, 128, 192, 255], np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(5, 25, 3)
    tiles = colours.repeat(16, axis=0).repeat(16, axis=1)
    difference = to_bytes(jpeg(to_tensor(tiles), quality)).astype(int) - pillow_jpeg(tiles, quality)
    assert np.abs(difference).max() <= 2
    assert np.abs(difference).mean() < 0.2


def test_matches_opencv(astronaut):
    import cv2

    _, encoded = cv2.imencode('.jpg', astronaut[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 40])
    wanted = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]
    assert psnr(to_bytes(jpeg(to_tensor(astronaut), 40)), wanted) > 47


@pytest.mark.parametrize('size', [(1, 1), (7, 9), (8, 16), (15, 17), (33, 31), (64, 50)])
def test_odd_sizes_match_libjpeg_up_to_the_border(astronaut, size):
    photo = np.ascontiguousarray(astronaut[80 : 80 + size[0], 200 : 200 + size[1]])
    ours = to_bytes(jpeg(to_tensor(photo), 50))
    assert ours.shape == photo.shape
    assert psnr(ours, pillow_jpeg(photo, 50)) > 42


def test_blocking_falls_on_the_same_grid_as_libjpeg(astronaut):
    """The mean step across block borders, relative to the steps inside blocks, is that of libjpeg."""

    def blocking(photo: np.ndarray) -> float:
        steps = np.abs(np.diff(photo.astype(float).mean(2), axis=1)).mean(0)
        inside = np.delete(steps, np.s_[7::8])
        return steps[7::8].mean() / inside.mean()

    ours, wanted = to_bytes(jpeg(to_tensor(astronaut), 15)), pillow_jpeg(astronaut, 15)
    assert blocking(wanted) > 1.5 * blocking(astronaut)
    assert blocking(ours) == pytest.approx(blocking(wanted), rel=0.01)


@pytest.mark.parametrize('quality', [1, 10, 49, 50, 77, 100])
def test_tables_are_those_in_libjpegs_files(astronaut, quality):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(astronaut[:16, :16]).save(file, 'JPEG', quality=quality)
    tables = Image.open(file).quantization
    assert quantisation_table(quality).flatten().tolist() == tables[0]
    assert quantisation_table(quality, chroma=True).flatten().tolist() == tables[1]


def test_a_second_compression_at_the_same_quality_loses_almost_nothing(astronaut):
    once = jpeg(to_tensor(astronaut), 50)
    assert psnr(to_bytes(jpeg(once, 50)), to_bytes(once)) > psnr(to_bytes(once), astronaut) + 6


def test_images_of_a_batch_do_not_mix(astronaut):
    batch = torch.cat([to_tensor(astronaut), to_tensor(astronaut[::-1])])
    torch.testing.assert_close(jpeg(batch, 30)[1:], jpeg(batch[1:], 30), rtol=0, atol=0)


@pytest.mark.parametrize('quality', [0, 101])
def test_quality_outside_1_to_100_is_refused(quality):
    with pytest.raises(ValueError, match='expected 1 to 100'):
        quantisation_table(quality)
