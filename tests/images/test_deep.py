"""16 bits: planes, premultiplied alpha, animations, checked against what was written and against the other decoder."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from metaf2n_arch.images import deep as module
from metaf2n_arch.images.encoders.png import png_chunk
from metaf2n_arch.images.photo import Photo
from metaf2n_arch.images.reading import image_size, read_image, read_photo
from metaf2n_arch.images.writing import write_photo
from metaf2n_arch.utils.checks import DataError


@pytest.fixture
def picture(astronaut) -> np.ndarray:
    """16 bits that 8 do not hold."""
    small = np.ascontiguousarray(astronaut[60:108, 200:264])
    return small.astype(np.uint16) * 256 + np.arange(small.size, dtype=np.uint16).reshape(small.shape) % 200


def test_the_planar_file_is_read_as_tifffile_reads_it(data_dir):
    path = data_dir / 'odd' / 'planar_16bit.tif'
    wanted = np.moveaxis(tifffile.imread(path), 0, -1)
    np.testing.assert_array_equal(read_photo(path).pixels, wanted)
    np.testing.assert_array_equal(read_image(path), wanted)


@pytest.mark.parametrize('compression', [None, 'zlib'])
@pytest.mark.parametrize('planar', ['contig', 'separate'])
@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize('big', [False, True])
def test_tiff_files_of_all_layouts(picture, tmp_path, compression, planar, order, big):
    stored = np.ascontiguousarray(np.moveaxis(picture, -1, 0)) if planar == 'separate' else picture
    options = {
        'photometric': 'rgb',
        'planarconfig': planar,
        'compression': compression,
        'byteorder': order,
        'bigtiff': big,
    }
    tifffile.imwrite(tmp_path / 'a.tif', stored, **options)
    if big and order == '>':  # which Pillow does not know
        with pytest.raises(DataError, match='cannot be read as an image'):
            read_photo(tmp_path / 'a.tif')
        return
    np.testing.assert_array_equal(read_photo(tmp_path / 'a.tif').pixels, picture)


@pytest.mark.parametrize('white_is_zero', [False, True])
def test_grey_tiff_files_with_white_as_zero_are_no_negative(picture, tmp_path, white_is_zero):
    grey = picture[..., 1]
    stored = 65535 - grey if white_is_zero else grey
    tifffile.imwrite(tmp_path / 'a.tif', stored, photometric='miniswhite' if white_is_zero else 'minisblack')
    np.testing.assert_array_equal(read_photo(tmp_path / 'a.tif').pixels, grey)


def test_premultiplied_alpha_is_divided_out(picture, tmp_path):
    alpha = np.full((48, 64, 1), 32768, np.uint16)
    alpha[:, 32:] = 65535
    stored = np.round(picture * (alpha / 65535)).astype(np.uint16)
    tifffile.imwrite(tmp_path / 'a.tif', np.dstack([stored, alpha]), photometric='rgb', extrasamples=['assocalpha'])
    read = read_photo(tmp_path / 'a.tif').pixels
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read[..., 3:], alpha)
    assert np.abs(read[..., :3].astype(int) - picture).max() <= 1


def animated(still: bytes, other: np.ndarray) -> bytes:
    """A PNG file whose picture is followed by a second frame, of 16 bits."""
    rows = b''.join(b'\0' + row.astype('>u2').tobytes() for row in other)
    height, width = other.shape[:2]

    def control(number: int) -> bytes:
        return png_chunk(b'fcTL', struct.pack('>IIIIIHHBB', number, width, height, 0, 0, 1, 10, 0, 0))

    first = still.index(b'IDAT') - 4
    last = still.rindex(b'IEND') - 4
    start = png_chunk(b'acTL', struct.pack('>II', 2, 0)) + control(0)
    second = control(1) + png_chunk(b'fdAT', struct.pack('>I', 2) + zlib.compress(rows))
    return still[:first] + start + still[first:last] + second + still[last:]


def test_of_an_animation_of_16_bits_the_first_frame_is_read(picture, tmp_path):
    write_photo(tmp_path / 'still.png', Photo(picture))
    data = animated((tmp_path / 'still.png').read_bytes(), 65535 - picture)
    (tmp_path / 'a.png').write_bytes(data)
    photo = read_photo(tmp_path / 'a.png')
    np.testing.assert_array_equal(photo.pixels, picture)
    assert 'the first of 2 images' in photo.notes[0]


def test_a_pgm_of_16_bits(picture, tmp_path):
    grey = picture[..., 0]
    (tmp_path / 'a.pgm').write_bytes(b'P5\n# made\n64 48\n65535\n' + grey.astype('>u2').tobytes())
    (tmp_path / 'a.ppm').write_bytes(b'P6\n64 48\n65535\n' + picture.astype('>u2').tobytes())
    np.testing.assert_array_equal(read_photo(tmp_path / 'a.pgm').pixels, grey)
    np.testing.assert_array_equal(read_photo(tmp_path / 'a.ppm').pixels, picture)


def test_two_decoders_that_disagree_are_refused(picture, tmp_path, monkeypatch):
    write_photo(tmp_path / 'a.png', Photo(picture))
    monkeypatch.setattr(module, '_opencv', lambda data: np.ascontiguousarray(picture[::-1]))
    with pytest.raises(DataError, match='differently by two decoders'):
        read_photo(tmp_path / 'a.png')


@pytest.mark.parametrize('suffix', ['.gif', '.jp2', '.avif', '.ppm', '.tga'])
def test_formats_that_were_passed_over_are_read(astronaut, tmp_path, suffix):
    image = Image.fromarray(astronaut[:40, :60])
    image.save(tmp_path / f'a{suffix}')
    with Image.open(tmp_path / f'a{suffix}') as again:
        wanted = np.asarray(again.convert('RGB'))
    np.testing.assert_array_equal(read_image(tmp_path / f'a{suffix}'), wanted)
    assert image_size(tmp_path / f'a{suffix}') == (40, 60)


@pytest.mark.parametrize(('suffix', 'plugin'), [('.heic', 'pillow_heif'), ('.jxl', 'pillow_jxl')])
def test_formats_of_plug_ins_are_read_where_these_are_installed(astronaut, tmp_path, suffix, plugin):
    pytest.importorskip(plugin, reason=f'{plugin} is not installed')
    from metaf2n_arch.images.formats import readers

    readers()
    buffer = io.BytesIO()
    Image.fromarray(astronaut[:64, :96]).save(buffer, {'.heic': 'HEIF', '.jxl': 'JXL'}[suffix], quality=95)
    (tmp_path / f'a{suffix}').write_bytes(buffer.getvalue())
    read = read_photo(tmp_path / f'a{suffix}').pixels
    assert np.abs(read.astype(int) - astronaut[:64, :96]).mean() < 6


def test_without_the_plug_in_the_name_of_it_is_told(tmp_path, monkeypatch):
    from metaf2n_arch.images import formats

    monkeypatch.setattr(formats, '_plug_in', lambda name: False)
    formats.readers.cache_clear()
    (tmp_path / 'a.heic').write_bytes(b'\0\0\0\x18ftypheic')
    try:
        with pytest.raises(DataError, match=r'pip install "pillow-heif'):
            read_photo(tmp_path / 'a.heic')
    finally:
        formats.readers.cache_clear()
