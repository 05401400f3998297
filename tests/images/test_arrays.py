"""Images: files of every kind, conversions against other programs, and files that cannot be read."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from metaf2n_arch.images import arrays as images
from metaf2n_arch.images import formats, reading, writing
from metaf2n_arch.utils.checks import DataError


@pytest.mark.parametrize('name', ['odd/00017_gray.png', 'odd/children-alpha.png', 'odd/tree_alpha_16bit.png'])
def test_odd_files_read_as_rgb_like_pillow_and_skimage(data_dir, name):
    from skimage import io as skio

    ours = reading.read_image(data_dir / name)
    wanted = skio.imread(data_dir / name)
    wanted = np.repeat(wanted[..., None], 3, 2) if wanted.ndim == 2 else wanted[..., :3]
    # scikit-image keeps the upper 8 of 16 bits.
    np.testing.assert_array_equal(ours >> 8 if ours.dtype == np.uint16 else ours, wanted)
    tensor = images.to_tensor(ours)
    assert tensor.dtype == torch.float32
    assert float(tensor.max()) == pytest.approx(wanted.max() / 255)


def test_a_sixteen_bit_file_keeps_its_precision(data_dir):
    tensor = images.to_tensor(reading.read_image(data_dir / 'odd/tree_alpha_16bit.png'))
    assert len(torch.unique((tensor * 65535).round())) > 256


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.webp', '.tif'])
def test_photo_orientation_is_applied_to_picture_and_size_alike(astronaut, tmp_path, suffix):
    from PIL import Image

    path = tmp_path / f'turned{suffix}'
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(astronaut[:100]).save(path, exif=exif)
    assert reading.image_size(path) == reading.read_image(path).shape[:2]
    if suffix == '.jpg':
        assert reading.image_size(path) == (512, 100)


def test_size_from_the_header_is_that_of_the_picture(data_dir):
    for path in sorted((data_dir / 'photos').iterdir())[:4] + sorted((data_dir / 'odd').glob('*.png')):
        assert reading.image_size(path) == reading.read_image(path).shape[:2]
        assert reading.image_size(path.read_bytes()) == reading.image_size(path)


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.webp', '.bmp', '.tif'])
def test_a_file_cut_in_half_is_refused_by_name(astronaut, tmp_path, suffix):
    whole, half = tmp_path / f'whole{suffix}', tmp_path / f'half{suffix}'
    writing.write_image(whole, astronaut)
    assert reading.read_image(whole).shape == astronaut.shape
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(DataError, match=f'half{suffix}.*replace or remove'):
        reading.read_image(half)


@pytest.mark.parametrize('content', [b'', b'not an image', b'\x89PNG\r\n'])
def test_what_is_no_image_is_refused_by_name(tmp_path, content):
    path = tmp_path / 'broken.png'
    path.write_bytes(content)
    with pytest.raises(DataError, match=r'broken\.png'):
        reading.read_image(path)
    with pytest.raises(DataError, match=r'broken\.png'):
        reading.image_size(path)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r'nowhere\.png cannot be opened'):
        reading.read_image(tmp_path / 'nowhere.png')
    with pytest.raises(DataError, match=r'nowhere\.png'):
        reading.image_size(tmp_path / 'nowhere.png')


def test_bytes_survive_a_trip_through_tensor_and_file(astronaut, tmp_path):
    tensor = images.to_tensor(astronaut)
    np.testing.assert_array_equal(images.to_uint8(tensor), astronaut)
    writing.write_image(tmp_path / 'a.png', images.to_uint8(tensor))
    np.testing.assert_array_equal(reading.read_image(tmp_path / 'a.png'), astronaut)
    assert [p.name for p in tmp_path.iterdir()] == ['a.png']


def test_rounding_to_bytes_is_to_the_nearest_and_clamped():
    values = torch.tensor([-0.1, 0.4 / 255, 0.6 / 255, 1.2]).view(1, 1, 4).expand(3, 1, 4)
    assert images.to_uint8(values)[0, :, 0].tolist() == [0, 0, 1, 255]


def test_sixteen_bits_become_eight_by_rounding():
    deep = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(images.to_8bit(deep), np.rint(deep * (255 / 65535)))
    shallow = np.arange(256, dtype=np.uint8)
    assert images.to_8bit(shallow) is shallow


def test_writing_fails_clearly_and_leaves_nothing(astronaut, tmp_path):
    with pytest.raises(DataError, match='no image suffix'):
        writing.write_image(tmp_path / 'a.txt', astronaut)
    for name, picture in (('a.pgm', astronaut), ('a.jpg', np.zeros((2, 70000, 3), np.uint8))):
        with pytest.raises(DataError, match=f'{name} cannot be written: .*choose png'):
            writing.write_image(tmp_path / name, picture)
    (tmp_path / 'a.png').mkdir()
    with pytest.raises(DataError, match='cannot be written'):
        writing.write_image(tmp_path / 'a.png', astronaut)
    assert [file.name for file in tmp_path.rglob('*')] == ['a.png']


def test_luminance_equals_pillows(astronaut, astronaut_tensor):
    from PIL import Image

    from metaf2n_arch.images.luminance import luminance

    grey = np.asarray(Image.fromarray(astronaut).convert('L'))
    np.testing.assert_allclose(luminance(astronaut_tensor)[0, 0].numpy() * 255, grey, atol=0.51)


def test_bicubic_enlargement_equals_opencv_inside(astronaut_tensor):
    import cv2

    small = astronaut_tensor[..., 100:132, 200:240]
    wanted = cv2.resize(small[0].permute(1, 2, 0).numpy(), (160, 128), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    np.testing.assert_allclose(images.bicubic_up(small, 4)[0].permute(1, 2, 0).numpy(), wanted, atol=2e-5)


@pytest.mark.parametrize('size', [(5, 7), (8, 8), (1, 3)])
def test_padding_to_a_multiple_reflects_at_bottom_and_right(size):
    image = torch.rand(1, 3, *size)
    padded = images.pad_to_multiple(image, 4)
    assert all(side % 4 == 0 and side - 4 < old for side, old in zip(padded.shape[-2:], size))
    torch.testing.assert_close(padded[..., : size[0], : size[1]], image, rtol=0, atol=0)
    if size == (5, 7):
        np.testing.assert_array_equal(padded[0, 0], np.pad(image[0, 0], ((0, 3), (0, 1)), mode='reflect'))


def test_gradient_energy_is_the_log_mean_square_written_as_a_loop():
    image = np.random.default_rng(0).random((5, 6, 3)).astype(np.float32)
    total = 0.0
    for y in range(4):
        for x in range(5):
            for c in range(3):
                total += (image[y, x, c] - image[y + 1, x, c]) ** 2 + (image[y, x, c] - image[y, x + 1, c]) ** 2
    assert images.gradient_energy(image) == pytest.approx(np.log(total / (4 * 5 * 3)), rel=1e-6)
    assert images.gradient_energy(np.ones((4, 4, 3), np.float32)) == -np.inf


def test_image_names_are_told_by_their_suffix_in_any_case():
    assert formats.is_image_name('a/b.PNG')
    assert not formats.is_image_name('a/png')


def test_decoded_bytes_equal_pillows(astronaut):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(astronaut).save(file, 'PNG')
    np.testing.assert_array_equal(reading.decode_image(file.getvalue(), 'x'), astronaut)
