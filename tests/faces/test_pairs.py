"""Face pairs on real photos: sizes, places, borders, kinds of images, and the layout on the disk."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metaf2n_arch.faces.detector import Detector, DetectorOptions, Face
from metaf2n_arch.faces.layout import has_pairs, save_pairs
from metaf2n_arch.faces.pairs import clip_box, face_pairs, to_float
from metaf2n_arch.faces.restorer import Restorer
from metaf2n_arch.faces.restorers import build_restorer
from metaf2n_arch.images.arrays import bicubic_up
from metaf2n_arch.images.reading import read_image


class Recorder(Restorer):
    """Paints every face in one colour, and remembers the batches it was given."""

    def __init__(self, size: int | None, value: float | None = None) -> None:
        super().__init__(size)
        self.value = value
        self.seen: list[torch.Size] = []

    def _run(self, faces: torch.Tensor) -> torch.Tensor:
        self.seen.append(faces.shape)
        return faces if self.value is None else torch.full_like(faces, self.value)


class Fixed(Detector):
    """Finds given faces in every image."""

    def __init__(self, *faces: Face) -> None:
        super().__init__(DetectorOptions(type='cascade'))
        self.faces = list(faces)

    def detect(self, image: np.ndarray) -> list[Face]:
        return self.faces


def shift_between(image: torch.Tensor, moved: torch.Tensor) -> np.ndarray:
    """The shift (y, x) in pixels that explains ``moved - image`` best, to first order (Lucas and Kanade 1981)."""
    a, b = image.mean(0).numpy(), moved.mean(0).numpy()
    inner = np.s_[8:-8, 8:-8]
    slopes = np.stack([slope[inner].ravel() for slope in np.gradient(a)], axis=1)
    return np.linalg.lstsq(-slopes, (b - a)[inner].ravel(), rcond=None)[0]


def test_the_measure_of_shifts_sees_half_a_pixel(photo):
    picture = bicubic_up(torch.from_numpy(to_float(photo('one_face'))).permute(2, 0, 1)[None], 4)[0]
    halfway = (picture[:, :, 1:] + picture[:, :, :-1]) / 2
    np.testing.assert_allclose(shift_between(picture[:, :, :-1], halfway), [0, -0.5], atol=0.05)


@pytest.fixture(scope='session')
def identity() -> Restorer:
    return build_restorer('identity')


@pytest.mark.parametrize('scale', [1, 2, 4])
@pytest.mark.parametrize(('name', 'count'), [('four_faces', 4), ('one_face', 1), ('no_face', 0)])
def test_lq_is_the_photo_itself_and_hq_is_scale_times_as_large(photo, yunet, identity, name, count, scale):
    image = photo(name)
    pairs = face_pairs(image, yunet, identity, scale)
    assert len(pairs) == count
    for pair in pairs:
        x0, y0, x1, y1 = pair.box
        assert torch.equal(pair.lq, torch.from_numpy(to_float(image)[y0:y1, x0:x1]).permute(2, 0, 1))
        assert pair.hq.shape == (3, scale * (y1 - y0), scale * (x1 - x0))
        assert 0 <= pair.hq.min() <= pair.hq.max() <= 1


@pytest.mark.parametrize('size', [256, 512])
@pytest.mark.parametrize('detector', ['yunet', 'retinaface', 'cascade'])
def test_a_face_that_is_not_restored_comes_back_to_the_same_pixels(request, photo, detector, size):
    image = photo('four_faces')
    pairs = face_pairs(image, request.getfixturevalue(detector), Recorder(size), scale=4)
    assert len(pairs) == 4
    for pair in pairs:
        enlarged = bicubic_up(pair.lq[None], 4)[0]
        assert np.abs(shift_between(enlarged, pair.hq)).max() < 0.05
        assert (pair.hq - enlarged).square().mean().sqrt() < 0.03


def test_on_a_cpu_the_faces_of_a_photo_are_restored_one_at_a_time_so_that_memory_stays_flat(photo, yunet):
    restorer = Recorder(256)
    face_pairs(photo('four_faces'), yunet, restorer, scale=4)
    assert restorer.seen == [(1, 3, 256, 256)] * 4


def test_the_restored_face_is_what_stands_in_hq(photo, yunet):
    [pair] = face_pairs(photo('one_face'), yunet, Recorder(512, value=1.0), scale=2)
    height, width = pair.hq.shape[1:]
    inner = pair.hq[:, height // 4 : -height // 4, width // 4 : -width // 4]
    torch.testing.assert_close(inner, torch.ones_like(inner))


def test_where_the_aligned_face_does_not_reach_hq_is_the_enlarged_photo(astronaut):
    # Landmarks in a corner of a large box: most of the box is outside the aligned face.
    landmarks = np.array([[180.0, 90], [190, 90], [185, 96], [181, 101], [189, 101]])
    detector = Fixed(Face((170, 80, 400, 300), landmarks, 1.0))
    [pair] = face_pairs(astronaut, detector, Recorder(256, value=0.0), scale=2)
    enlarged = bicubic_up(pair.lq[None], 2)[0]
    assert torch.equal(pair.hq[:, -200:, -200:], enlarged[:, -200:, -200:])
    assert pair.hq[:, 25:35, 25:35].max() < 1e-6


@pytest.mark.parametrize('size', [256, None])
def test_a_face_over_the_border_is_clipped(astronaut, yunet, size):
    cut = astronaut[80:300, 200:400]
    [whole] = yunet.detect(astronaut)
    face = Face(tuple(np.array(whole.box) - [200, 80, 200, 80]), whole.landmarks - [200, 80], 1.0)
    [pair] = face_pairs(cut, Fixed(face), Recorder(size), scale=4)
    assert pair.box[:2] == (0, 0)
    enlarged = bicubic_up(pair.lq[None], 4)[0]
    assert (pair.hq - enlarged).square().mean().sqrt() < 0.05


def test_a_box_outside_the_photo_is_left_out(astronaut, identity):
    assert face_pairs(astronaut, Fixed(Face((600, 20, 700, 90), None, 1.0)), identity, 4) == []


def test_boxes_are_widened_to_whole_pixels_and_clipped():
    assert clip_box((-3.2, 4.7, 20.1, 40.0), 32, 30) == (0, 4, 21, 30)
    assert clip_box((3.0, 4.0, 20.0, 30.0), 32, 30) == (3, 4, 20, 30)


def test_bytes_16_bits_and_floats_give_the_same_pairs(photo, yunet, identity):
    image = photo('one_face')
    [expected] = face_pairs(image, yunet, identity, 2)
    for same in (image.astype(np.uint16) * 257, image.astype(np.float64) / 255):
        [pair] = face_pairs(same, yunet, identity, 2)
        assert pair.box == expected.box
        torch.testing.assert_close(pair.hq, expected.hq, rtol=0, atol=1e-5)


@pytest.mark.parametrize('scale', [0, -1, 1.5])
def test_a_scale_that_is_no_whole_number_is_refused(astronaut, identity, scale):
    with pytest.raises(ValueError, match='scale'):
        face_pairs(astronaut, Fixed(), identity, scale)


@pytest.mark.parametrize('image', [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3), int)])
def test_other_images_are_refused(identity, image):
    with pytest.raises(ValueError, match='expected'):
        face_pairs(image, Fixed(), identity, 4)


def test_saved_pairs_are_read_back_to_8_bits(photo, yunet, identity, tmp_path):
    pairs = face_pairs(photo('four_faces'), yunet, identity, 4)
    records = save_pairs(pairs, tmp_path, 'sub/photo.jpg')
    assert [record['file'] for record in records] == [f'sub/photo_{i}.png' for i in range(4)]
    assert has_pairs(tmp_path, records)
    for pair, record in zip(pairs, records):
        for folder, picture in (('Face_LQ', pair.lq), ('Face_HQ', pair.hq)):
            stored = read_image(tmp_path / folder / record['file'])
            np.testing.assert_allclose(stored, picture.permute(1, 2, 0).numpy() * 255, atol=0.501)
        assert tuple(record['box']) == pair.box
        np.testing.assert_allclose(record['landmarks'], pair.landmarks, atol=0.006)


def test_saving_again_removes_faces_of_that_image_only(photo, yunet, identity, tmp_path):
    pairs = face_pairs(photo('four_faces'), yunet, identity, 2)
    save_pairs(pairs, tmp_path, 'photo.jpg')
    others = save_pairs(pairs[:1], tmp_path, 'photo_1.jpg') + save_pairs(pairs[:1], tmp_path, 'photo-b.jpg')
    records = save_pairs(pairs[:2], tmp_path, 'photo.jpg')
    assert has_pairs(tmp_path, records + others)
    assert sorted(path.name for path in (tmp_path / 'Face_LQ').iterdir()) == [
        'photo-b_0.png',
        'photo_0.png',
        'photo_1.png',
        'photo_1_0.png',
    ]
