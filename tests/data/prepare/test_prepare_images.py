"""What each preparation makes of an image: sizes, crops, masks, aligned faces."""

from __future__ import annotations

import json

import numpy as np
import pytest

from metaf2n_arch.data.prepare.align import Align, read_landmarks
from metaf2n_arch.data.prepare.crops import Crops, crops, grid
from metaf2n_arch.data.prepare.driver import prepare, read_or_unfit
from metaf2n_arch.data.prepare.masks import Masks, mask_image
from metaf2n_arch.data.prepare.multiscale import Multiscale, scaled_sizes
from metaf2n_arch.faces.detector import DetectorOptions
from metaf2n_arch.functional.edges import edge_mask
from metaf2n_arch.images.arrays import to_tensor
from metaf2n_arch.images.writing import write_image
from metaf2n_arch.utils.checks import DataError


def test_multiscale_writes_what_pillow_makes_at_each_scale(album, tmp_path, tree):
    from PIL import Image

    prepare(Multiscale(album, tmp_path / 'out'))
    # the cat is 300 x 451: a shorter side of 400 would enlarge it
    assert [f for f in tree(tmp_path / 'out') if f.startswith('cat')] == ['catT0.png', 'catT1.png', 'catT2.png']
    photo = Image.open(album / 'astronaut.png')
    for number, side in enumerate((384, 256, 170, 400)):
        expected = np.asarray(photo.resize((side, side), Image.Resampling.LANCZOS))
        np.testing.assert_array_equal(read_or_unfit(tmp_path / 'out' / f'astronautT{number}.png'), expected)


def test_the_original_is_written_when_asked_for(album, tmp_path):
    prepare(Multiscale(album, tmp_path / 'out', original=True))
    np.testing.assert_array_equal(read_or_unfit(tmp_path / 'out' / 'gray.png'), read_or_unfit(album / 'gray.png'))


@pytest.mark.parametrize('size', [(1356, 2040), (401, 3000), (2040, 1356)])
def test_sizes_are_real_esrgans(size):
    height, width = size
    # the loop of its script, in Pillow's order of width and height
    expected = [(int(height * scale), int(width * scale)) for scale in (0.75, 0.5, 1 / 3)]
    ratio = max(size) / min(size)
    expected.append((400, int(400 * ratio)) if height < width else (int(400 * ratio), 400))
    assert scaled_sizes(height, width) == expected


def test_crops_are_the_cells_of_the_grid_with_enough_energy():
    rng = np.random.default_rng(0)
    image = np.full((100, 130, 3), 128, np.uint8)
    image[40:, 50:] = rng.integers(0, 256, (60, 80, 3))
    kept = dict(crops(image, 40, 30, -6))
    for number, (y, x) in enumerate(grid(100, 130, 40, 30), start=1):
        cell = image[y : y + 40, x : x + 40].astype(np.float64) / 255
        total = 0.0
        for i in range(39):
            for j in range(39):
                total += ((cell[i, j] - cell[i + 1, j]) ** 2 + (cell[i, j] - cell[i, j + 1]) ** 2).sum()
        with np.errstate(divide='ignore'):
            assert (number in kept) == (np.log(total / 39**2 / 3) >= -6)
    assert 0 < len(kept) < 12
    assert len(list(crops(image, 40, 30, None))) == 12


def test_crops_are_named_by_their_place_and_flat_images_are_listed(album, tmp_path, tree):
    write_image(album / 'flat.png', np.full((420, 420, 3), 7, np.uint8))
    summary = prepare(Crops(album, tmp_path / 'out', 256, 128, -6))
    assert 'no crop with a gradient energy' in summary.skipped['flat.png']
    assert 'smaller than 256x256' in summary.skipped['tiny.png']
    names = [name for name in tree(tmp_path / 'out') if name.startswith('astronaut')]
    assert names == sorted(names)
    photo = read_or_unfit(album / 'astronaut.png')
    for name in names:
        y, x = grid(512, 512, 256, 128)[int(name[-7:-4]) - 1]
        np.testing.assert_array_equal(read_or_unfit(tmp_path / 'out' / name), photo[y : y + 256, x : x + 256])


def test_masks_are_opencvs_laplacian_of_the_8_bit_luminance(album, tmp_path):
    import cv2
    from PIL import Image

    prepare(Masks(album, tmp_path / 'out'))
    gray = np.asarray(Image.open(album / 'astronaut.png').convert('L'))
    kernel = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], np.float32)
    expected = (cv2.filter2D(gray, -1, kernel) > 20) * 255
    stored = cv2.imread(str(tmp_path / 'out' / 'astronaut.png'), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint8
    np.testing.assert_array_equal(stored, expected)
    assert mask_image(read_or_unfit(album / 'astronaut.png'), stride=3).sum() < expected.sum() / 2


@pytest.mark.parametrize('stride', [1, 2, 3])
@pytest.mark.parametrize('shape', [(512, 512), (7, 3), (1, 9), (9, 1), (1, 1), (2, 2)])
def test_masks_without_torch_are_those_of_the_loss(astronaut, shape, stride):
    image = np.ascontiguousarray(astronaut[: shape[0], 200 : 200 + shape[1]] if shape[0] < 512 else astronaut)
    expected = edge_mask(to_tensor(image)[None], 20, stride)[0, 0].numpy()
    assert np.array_equal(mask_image(image, 20, stride), expected.astype(np.uint8) * 255)


@pytest.fixture
def yunet(data_dir) -> DetectorOptions:
    return DetectorOptions(type='yunet', weights=str(data_dir / 'weights' / 'face_detection_yunet_2023mar.onnx'))


def test_an_aligned_face_shows_eyes_and_mouth_where_ffhq_has_them(data_dir, tmp_path, yunet):
    from metaf2n_arch.faces.alignment import template
    from metaf2n_arch.faces.detectors import build_detector

    summary = prepare(Align(data_dir / 'photos', tmp_path / 'out', (256,), min_ratio=0.2, detector=yunet))
    assert [name for name in summary.skipped if 'no_face' in name]
    faces = sorted((tmp_path / 'out').glob('*.png'))
    assert len(faces) >= 6
    detector = build_detector(yunet)
    offsets = []
    for path in faces:
        crop = read_or_unfit(path)
        assert crop.shape == (256, 256, 3)
        [face] = detector.detect(crop)
        offsets.append(np.abs(face.landmarks - template(256)).mean())
    # FFHQ's square follows eyes and mouth, the template is a mean face: a few pixels of 256 remain
    assert np.median(offsets) < 12


def test_given_landmarks_need_no_detector_and_sizes_have_folders(astronaut, tmp_path):
    (tmp_path / 'in').mkdir()
    write_image(tmp_path / 'in' / 'a.png', astronaut)
    points = [[205, 110], [245, 112], [225, 130], [208, 150], [242, 151]]
    for content in ({'a': points}, {'a.png': [points]}, {'images': {'a.png': [{'landmarks': points}]}}):
        (tmp_path / 'points.json').write_text(json.dumps(content))
        assert read_landmarks(tmp_path / 'points.json') == {'a': [points]}
    work = Align(tmp_path / 'in', tmp_path / 'out', (64, 128), largest=True, landmarks={'a': [points]})
    assert prepare(work).files == 2
    assert read_or_unfit(tmp_path / 'out' / '64' / 'a.png').shape == (64, 64, 3)
    assert read_or_unfit(tmp_path / 'out' / '128' / 'a.png').shape == (128, 128, 3)
    small = prepare(Align(tmp_path / 'in', tmp_path / 'big', (1024,), landmarks={'a': [points]}))
    assert 'no face of 512 pixels' in small.skipped['a.png']


def test_a_file_of_something_else_is_no_file_of_landmarks(tmp_path):
    for text, message in (('[1]', 'not hold a mapping'), ('{', 'JSON'), ('{"a": [[1, 2]]}', 'five points')):
        (tmp_path / 'points.json').write_text(text)
        with pytest.raises(DataError, match=message):
            read_landmarks(tmp_path / 'points.json')


@pytest.mark.parametrize('shape', [(512, 512), (400, 400), (401, 799), (650, 1021)])
def test_crops_cover_every_pixel_up_to_the_right_and_lower_margin(shape):
    covered = np.zeros(shape, bool)
    for y, x in grid(*shape):
        assert y + 400 <= shape[0]
        assert x + 400 <= shape[1]
        covered[y : y + 400, x : x + 400] = True
    assert covered.all()
