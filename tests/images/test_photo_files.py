"""Photo files of all kinds, compared with Pillow, tifffile and OpenCV."""

from __future__ import annotations

import io
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps

from metaf2n_arch.images.photo import ORIENTATION, Photo, upright
from metaf2n_arch.images.reading import image_size, read_image, read_photo
from metaf2n_arch.images.writing import write_photo
from metaf2n_arch.utils.checks import DataError

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()


@pytest.fixture
def small(astronaut) -> np.ndarray:
    return np.ascontiguousarray(astronaut[60:84, 200:231])


def deep(image: np.ndarray) -> np.ndarray:
    """16 bits that 8 do not hold."""
    low = np.arange(image.size, dtype=np.uint16).reshape(image.shape) % 200
    return image.astype(np.uint16) * 256 + low


def channels(image: np.ndarray, count: int) -> np.ndarray:
    rgba = np.dstack([image, 255 - image[..., :1]])
    return {1: rgba[..., 0], 2: rgba[..., [0, 3]], 3: rgba[..., :3], 4: rgba}[count]


@pytest.mark.parametrize('count', [1, 2, 3, 4])
@pytest.mark.parametrize('suffix', ['.png', '.tif', '.tiff', '.webp'])
def test_what_is_written_is_read_again(small, tmp_path, suffix, count):
    path, pixels = tmp_path / f'a{suffix}', channels(small, count)
    write_photo(path, Photo(pixels, PROFILE))
    photo = read_photo(path)
    if suffix == '.webp':  # lossy, and always RGB
        assert photo.pixels.shape == (24, 31, 3 if count in (1, 3) else 4)
        colours = np.broadcast_to(pixels[..., None], small.shape) if count == 1 else pixels[..., :1] * [1, 1, 1]
        expected = pixels[..., :3] if count >= 3 else colours
        assert np.abs(photo.pixels[..., :3].astype(int) - expected).mean() < 8
    else:
        assert photo.pixels.dtype == np.uint8
        assert np.array_equal(photo.pixels, pixels)
    assert photo.icc == PROFILE


@pytest.mark.parametrize('count', [1, 3, 4])
@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_16_bits_stay_16_bits(small, tmp_path, suffix, count):
    path, pixels = tmp_path / f'a{suffix}', deep(channels(small, count))
    write_photo(path, Photo(pixels, PROFILE))
    photo = read_photo(path)
    assert photo.pixels.dtype == np.uint16
    assert np.array_equal(photo.pixels, pixels)
    assert photo.icc == PROFILE
    with Image.open(path) as image:
        image.load()
        assert image.info['icc_profile'] == PROFILE


@pytest.mark.parametrize('suffix', ['.jpg', '.bmp', '.webp'])
def test_formats_of_8_bits_get_8(small, tmp_path, suffix):
    write_photo(tmp_path / f'a{suffix}', Photo(deep(small)))
    photo = read_photo(tmp_path / f'a{suffix}')
    assert photo.pixels.dtype == np.uint8
    assert np.abs(photo.pixels.astype(int) - small).mean() < (1 if suffix == '.bmp' else 6)


@pytest.mark.parametrize('orientation', range(1, 9))
def test_orientation_is_applied_as_pillow_applies_it(small, tmp_path, orientation):
    exif = Image.Exif()
    exif[ORIENTATION], exif[0x010F] = orientation, 'maker'
    expected = None
    for suffix in ('.png', '.jpg', '.webp', '.tif'):
        options = {'lossless': True} if suffix == '.webp' else {}
        Image.fromarray(small).save(tmp_path / f'a{suffix}', exif=exif, **options)
        with Image.open(tmp_path / f'a{suffix}') as image:
            expected = np.asarray(ImageOps.exif_transpose(image))
        photo = read_photo(tmp_path / f'a{suffix}')
        assert np.array_equal(photo.pixels, expected)
        assert photo.exif is not None
        write_photo(tmp_path / f'b{suffix}', photo)
        with Image.open(tmp_path / f'b{suffix}') as image:
            assert image.getexif().get(ORIENTATION, 1) == 1
            assert image.getexif().get(0x010F) == 'maker'
    assert np.array_equal(upright(small, orientation), expected)


@pytest.mark.parametrize('orientation', range(1, 9))
def test_orientation_of_16_bits_too(small, tmp_path, orientation):
    pixels = deep(small)
    tag = [(ORIENTATION, 'H', 1, orientation, True)]
    tifffile.imwrite(tmp_path / 'a.tif', pixels, photometric='rgb', extratags=tag)
    assert np.array_equal(read_photo(tmp_path / 'a.tif').pixels, upright(pixels, orientation))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    write_photo(tmp_path / 'a.png', Photo(pixels, exif=exif.tobytes()))
    assert np.array_equal(read_photo(tmp_path / 'a.png').pixels, upright(pixels, orientation))


def test_palettes_transparency_cmyk_and_one_bit_become_what_they_show(small, tmp_path):
    image = Image.fromarray(small)
    palette = image.quantize(16)
    palette.save(tmp_path / 'p.png')
    assert np.array_equal(read_photo(tmp_path / 'p.png').pixels, np.asarray(palette.convert('RGB')))
    palette.save(tmp_path / 't.png', transparency=0)
    assert read_photo(tmp_path / 't.png').pixels.shape == (24, 31, 4)
    image.convert('1').save(tmp_path / 'b.png')
    assert set(np.unique(read_photo(tmp_path / 'b.png').pixels)) == {0, 255}
    image.convert('CMYK').save(tmp_path / 'c.jpg', quality=100, icc_profile=b'broken')
    photo = read_photo(tmp_path / 'c.jpg')
    assert np.abs(photo.pixels.astype(int) - small).mean() < 4
    assert photo.icc is None


def test_the_odd_files_of_the_test_data_agree_with_opencv(data_dir):
    for path in sorted((data_dir / 'odd').glob('*.png')):
        pixels = read_photo(path).pixels
        expected = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        expected = expected if expected.ndim == 2 else expected[..., [2, 1, 0, 3][: expected.shape[2]]]
        assert pixels.dtype == expected.dtype
        assert np.array_equal(pixels, expected)


def test_further_pages_are_left_out_and_said_so(small, tmp_path):
    image = Image.fromarray(small)
    image.save(tmp_path / 'a.tif', save_all=True, append_images=[image, image])
    assert read_photo(tmp_path / 'a.tif').notes == ('the first of 3 images in the file',)


def broken_files(small: np.ndarray, folder: Path) -> dict[str, str]:
    buffers = {}
    for kind in ('png', 'jpeg', 'webp', 'tiff', 'bmp'):
        buffer = io.BytesIO()
        Image.fromarray(np.tile(small, (8, 8, 1))).save(buffer, kind)
        buffers[kind] = buffer.getvalue()
    write_photo(folder / 'deep.png', Photo(deep(np.tile(small, (8, 8, 1)))))
    buffers['deep.png'] = (folder / 'deep.png').read_bytes()
    for kind, data in buffers.items():
        (folder / f'cut_{kind}.png').write_bytes(data[: len(data) // 2])
    (folder / 'empty.jpg').write_bytes(b'')
    (folder / 'text.jpg').write_text('no picture', encoding='utf-8')
    Image.fromarray(small.astype(np.float32)[..., 0]).save(folder / 'float.tif')
    (folder / 'folder.png').mkdir()
    cut = {f'cut_{kind}.png': 'cannot be read' for kind in buffers if kind != 'webp'}
    return {**cut, 'empty.jpg': 'is not a PNG', 'text.jpg': 'is not a PNG', 'float.tif': 'bit', 'folder.png': 'opened'}


def test_what_cannot_be_read_is_named_in_one_line(small, tmp_path):
    for name, reason in {**broken_files(small, tmp_path), 'absent.png': 'opened: No such file'}.items():
        with pytest.raises(DataError, match=reason) as caught:
            read_photo(tmp_path / name)
        assert '\n' not in str(caught.value)
        assert name in str(caught.value)
    with pytest.raises(DataError):
        read_photo(tmp_path / 'cut_webp.png')


def test_what_cannot_be_written_is_one_line_and_leaves_nothing(small, tmp_path):
    alpha = Photo(channels(small, 4))
    for name, reason in {
        'a.jpg': 'no transparency',
        'a.gif': 'read, but not written',
        'a.txt': 'no image suffix',
    }.items():
        with pytest.raises(DataError, match=reason):
            write_photo(tmp_path / name, alpha)
    with pytest.raises(DataError, match='webp holds at most 16383 pixels per side'):
        write_photo(tmp_path / 'wide.webp', Photo(np.zeros((2, 20000, 3), np.uint8)))
    (tmp_path / 'a.png').mkdir()
    with pytest.raises(DataError, match='cannot be written'):
        write_photo(tmp_path / 'a.png', alpha)
    (tmp_path / 'file').write_text('no folder')
    with pytest.raises(DataError, match='file cannot be made'):
        write_photo(tmp_path / 'file' / 'a.png', alpha)
    assert {path.name for path in tmp_path.iterdir()} == {'a.png', 'file'}


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='has no named pipes')
@pytest.mark.parametrize('read', [read_photo, read_image, image_size])
def test_a_pipe_that_is_called_like_an_image_is_refused_and_not_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / 'a.png')
    with pytest.raises(DataError, match=r'^\S+/a\.png cannot be opened: it is a pipe or a device, not a file\.$'):
        read(tmp_path / 'a.png')
