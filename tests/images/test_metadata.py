"""What stands beside the pixels of a photo survives each format that can hold it, and never costs the picture."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, IptcImagePlugin
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from metaf2n_arch.images.encoders.jpeg import encode_jpeg
from metaf2n_arch.images.encoders.strips import Layout
from metaf2n_arch.images.formats import FORMATS
from metaf2n_arch.images.photo import EXIF_IFD, ORIENTATION, Photo
from metaf2n_arch.images.reading import image_size, read_image, read_photo
from metaf2n_arch.images.writing import write_photo, write_strips

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="1"><rdf:RDF>maker</rdf:RDF></x:xmpmeta>'
IPTC = b'\x1c\x02\x69\x00\x05title'
FOCAL, LENS = 0x920A, 0xA434


def camera_exif() -> bytes:
    exif = Image.Exif()
    exif[0x010F] = 'maker'
    exif.get_ifd(EXIF_IFD).update({FOCAL: 4.5, LENS: 'lens 1', 0x927C: b'\x01maker note'})
    exif[EXIF_IFD] = exif.get_ifd(EXIF_IFD)
    return exif.tobytes()


@pytest.fixture
def photo(astronaut) -> Photo:
    pixels = np.ascontiguousarray(astronaut[60:84, 200:231])
    return Photo(pixels, PROFILE, camera_exif(), xmp=XMP, iptc=IPTC, dpi=(300.0, 300.0), gamma=0.5)


@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('form', [each for each in FORMATS if each.written], ids=lambda form: form.name)
def test_each_format_keeps_what_it_says_and_another_program_reads_it(photo, tmp_path, form, bits):
    path = tmp_path / f'a{form.suffixes[0]}'
    pixels = photo.pixels if bits == 8 else photo.pixels.astype(np.uint16) * 257
    notes = write_photo(
        path, Photo(pixels, *(getattr(photo, k) for k in ('icc', 'exif', 'notes', 'xmp', 'iptc', 'dpi', 'gamma')))
    )
    again = read_photo(path)
    assert again.icc == (PROFILE if 'icc' in form.keeps else None)
    assert again.xmp == (XMP if 'xmp' in form.keeps else None)
    assert again.iptc == (IPTC if 'iptc' in form.keeps else None)
    assert again.gamma == (0.5 if 'gamma' in form.keeps else None)
    if 'dpi' in form.keeps:
        assert again.dpi == pytest.approx((300, 300), rel=1e-3)
    words = {'icc': 'colour profile', 'exif': 'EXIF', 'xmp': 'XMP', 'iptc': 'IPTC', 'dpi': 'DPI', 'gamma': 'gAMA'}
    for key, word in words.items():
        assert (word in ' '.join(notes)) == (key not in form.keeps)
    with Image.open(path) as image:
        image.load()
        exif = image.getexif()
        if 'exif' in form.keeps:
            assert exif[0x010F] == 'maker'
            settings = exif.get_ifd(EXIF_IFD)
            assert (float(settings[FOCAL]), settings[LENS]) == (4.5, 'lens 1')
        if form.name in ('jpg', 'tiff'):
            assert IptcImagePlugin.getiptcinfo(image)[2, 105] == b'title'


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.webp', '.tif', '.avif', '.bmp'])
@pytest.mark.parametrize(
    'broken',
    [
        {'exif': b'Exif\0\0nonsense'},
        {'exif': b'Exif\0\0II*\0' + b'x' * 70000},
        {'xmp': b'<' * 70000},
        {'icc': b'short'},
    ],
    ids=['no EXIF', 'EXIF of 70 kB', 'XMP of 70 kB', 'no profile'],
)
def test_what_cannot_be_written_beside_the_pixels_never_costs_them(photo, tmp_path, suffix, broken):
    write_photo(tmp_path / f'a{suffix}', Photo(photo.pixels, **broken, dpi=photo.dpi))
    pixels = read_photo(tmp_path / f'a{suffix}').pixels
    assert np.abs(pixels.astype(int) - photo.pixels).mean() < 8


def test_a_phones_exif_reaches_every_format(data_dir, tmp_path):
    photo = read_photo(data_dir / 'odd' / 'phone_exif.jpg')
    assert photo.exif is not None
    for suffix in ('.tif', '.png', '.jpg', '.webp', '.avif'):
        assert not write_photo(tmp_path / f'a{suffix}', Photo(photo.pixels, exif=photo.exif))
        with Image.open(tmp_path / f'a{suffix}') as image, Image.open(data_dir / 'odd' / 'phone_exif.jpg') as source:
            image.load()
            settings, wanted = image.getexif().get_ifd(EXIF_IFD), source.getexif().get_ifd(EXIF_IFD)
            assert wanted
            assert {k: v for k, v in settings.items() if k in wanted} == {
                k: v for k, v in wanted.items() if k not in (0xA002, 0xA003)
            }


def test_the_resolution_of_a_scan_is_kept(data_dir, tmp_path):
    photo = read_photo(data_dir / 'odd' / 'dpi300.png')
    for suffix in ('.png', '.tif', '.jpg', '.bmp'):
        write_photo(tmp_path / f'a{suffix}', photo)
        with Image.open(tmp_path / f'a{suffix}') as image:
            assert image.info['dpi'] == pytest.approx((300, 300), rel=1e-3)


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.webp', '.tif'])
@pytest.mark.parametrize('value', ['6', 'left', 9, 0, 6])
def test_an_orientation_that_is_none_turns_nothing_and_one_that_is_turns_both_readers(
    astronaut, tmp_path, suffix, value
):
    directory = ImageFileDirectory_v2(b'II*\0\x08\0\0\0')
    directory.tagtype[ORIENTATION] = 2 if isinstance(value, str) else 3
    directory[ORIENTATION] = value
    path = tmp_path / f'a{suffix}'
    exif = b'Exif\0\0II*\0\x08\0\0\0' + directory.tobytes(8)
    if suffix == '.tif':
        kind, content = (2, f'{value}\0'.encode()) if isinstance(value, str) else (3, value)
        tag = (ORIENTATION, kind, len(content) if isinstance(content, bytes) else 1, content, True)
        tifffile.imwrite(path, astronaut[:20, :30], photometric='rgb', extratags=[tag])
    else:
        Image.fromarray(astronaut[:20, :30]).save(path, exif=exif)
    wanted = (30, 20) if value == 6 else (20, 30)
    assert image_size(path) == read_image(path).shape[:2] == read_photo(path).pixels.shape[:2] == wanted


def test_xmp_is_upright_like_the_pixels(astronaut, tmp_path):
    turned = XMP.replace(b'Orientation="1"', b'Orientation="6"')
    Image.fromarray(astronaut[:20, :30]).save(tmp_path / 'a.jpg', xmp=turned)
    photo = read_photo(tmp_path / 'a.jpg')
    assert photo.pixels.shape == (30, 20, 3)
    write_photo(tmp_path / 'b.jpg', photo)
    assert read_photo(tmp_path / 'b.jpg').pixels.shape == (30, 20, 3)


def test_two_readers_agree_on_files_of_phones(data_dir):
    for name, size in {'motion.jpg': (160, 240), 'mpo_orientation6.jpg': (240, 160), 'photo.jfif': (24, 32)}.items():
        path = data_dir / 'odd' / name
        assert image_size(path) == read_image(path).shape[:2] == size
        np.testing.assert_array_equal(read_image(path), read_photo(path).pixels)


@pytest.mark.parametrize('height', [1, 63, 64, 65, 200, 513])
@pytest.mark.parametrize('grey', [False, True])
def test_a_jpeg_of_strips_is_to_the_bit_that_of_the_whole_picture(astronaut, height, grey):
    picture = np.ascontiguousarray(
        np.tile(astronaut, (2, 1, 1))[:height, :101, 0] if grey else np.tile(astronaut, (2, 1, 1))[:height, :101]
    )
    ours, wanted = io.BytesIO(), io.BytesIO()
    strips = (picture[top : top + 50] for top in range(0, height, 50))
    encode_jpeg(ours, strips, Layout(height, 101, 1 if grey else 3), {})
    Image.fromarray(picture).save(wanted, 'JPEG', quality=95, subsampling=0, restart_marker_rows=1)
    assert ours.getvalue() == wanted.getvalue()


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('channels', [1, 2, 3, 4])
def test_strips_of_any_heights_give_the_picture(astronaut, tmp_path, suffix, dtype, channels):
    picture = np.dstack([astronaut, astronaut[..., 0]])[:150, :77, [[0], [0, 3], [0, 1, 2], [0, 1, 2, 3]][channels - 1]]
    picture = picture.astype(dtype) * (257 if dtype == np.uint16 else 1)
    picture = picture[..., 0] if channels == 1 else picture
    path = tmp_path / f'a{suffix}'
    strips = (picture[a:b] for a, b in ((0, 1), (1, 90), (90, 150)))
    write_strips(path, strips, picture.shape, picture.dtype, Photo(picture))
    if (suffix, dtype, channels) == ('.tif', np.uint16, 2):
        picture = picture[..., [0, 0, 0, 1]]  # which is all that other programs read
    np.testing.assert_array_equal(read_photo(path).pixels, picture)


def test_transparency_that_hides_nothing_is_dropped_where_the_format_holds_none(data_dir, tmp_path: Path):
    photo = read_photo(data_dir / 'odd' / 'opaque_rgba.png')
    assert photo.channels == 4
    for suffix in ('.jpg', '.bmp'):
        write_photo(tmp_path / f'a{suffix}', photo)
        assert read_photo(tmp_path / f'a{suffix}').pixels.shape == (24, 32, 3)
