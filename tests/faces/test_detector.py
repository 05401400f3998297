"""Detectors on real photos: counts, boxes, doubles, bounded search, options."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from metaf2n_arch.faces.detector import Detector, DetectorOptions, Face, is_double, select_faces
from metaf2n_arch.faces.detectors import build_detector
from metaf2n_arch.utils.checks import DataError, OptionError

# Counted by looking at the photos.
COUNTS = {'one_face': 1, 'two_faces': 2, 'three_faces': 3, 'four_faces': 4, 'no_face': 0}
PORTRAITS = ['faces_hq/00004', 'faces_hq/00005', 'faces_hq/ffhq_00000', 'faces_hq/ffhq_00001', 'faces_lq/ffhq_00000']


@pytest.mark.parametrize('name', list(COUNTS))
@pytest.mark.parametrize('detector', ['retinaface', 'yunet'])
def test_every_face_of_a_photo_is_found_once(request, photo, detector, name):
    faces = request.getfixturevalue(detector).detect(photo(name))
    assert len(faces) == COUNTS[name]
    centres = [face.box[0] + face.box[2] for face in faces]
    assert centres == sorted(centres)


@pytest.mark.parametrize(
    ('detector', 'name'),
    [
        pytest.param(
            detector, name, marks=[pytest.mark.slow] if detector == 'retinaface' and name == PORTRAITS[1] else []
        )
        for detector in ('retinaface', 'yunet')
        for name in PORTRAITS
    ],
)
def test_a_face_that_fills_a_large_photo_is_found_once(request, data_dir, detector, name):
    image = np.asarray(Image.open(data_dir / f'{name}.png').convert('RGB'))
    [face] = request.getfixturevalue(detector).detect(image)
    # FFHQ frames every face alike: the eyes are at 0.37 and 0.62 of the width, 0.47 of the height.
    eyes = face.landmarks[:2] / 1024
    np.testing.assert_allclose(eyes, [[0.375, 0.47], [0.625, 0.47]], atol=0.05)


def test_both_detectors_put_boxes_and_landmarks_at_one_place(photo, retinaface, yunet):
    for ours, theirs in zip(retinaface.detect(photo('four_faces')), yunet.detect(photo('four_faces'))):
        side = max(ours.size)
        assert is_double(ours, theirs)
        assert np.abs(ours.landmarks - theirs.landmarks).max() < 0.15 * side
        left_eye, right_eye, nose, left_mouth, right_mouth = ours.landmarks
        assert left_eye[0] < right_eye[0]
        assert left_mouth[0] < right_mouth[0]
        assert left_eye[1] < nose[1] < left_mouth[1]


def test_retinaface_agrees_with_facexlibs_own_decoding(photo, weights_dir, retinaface):
    torch = pytest.importorskip('torch')
    from facexlib.detection import init_detection_model

    image = photo('four_faces')
    theirs = init_detection_model('retinaface_mobile0.25', device='cpu', model_rootpath=str(weights_dir))
    with torch.no_grad():
        rows = theirs.detect_faces(image[:, :, ::-1].copy(), 0.8)
    rows = rows[np.argsort(rows[:, 0])]
    ours = retinaface.detect(image)
    np.testing.assert_allclose([face.box for face in ours], rows[:, :4], atol=1e-2)
    np.testing.assert_allclose([face.score for face in ours], rows[:, 4], atol=1e-5)
    # facexlib gives the landmarks behind the score, x and y by turns.
    np.testing.assert_allclose([face.landmarks.ravel() for face in ours], rows[:, 5:15], atol=1e-2)


def test_the_cascade_needs_no_weights_and_finds_the_astronaut(no_weights, cascade, astronaut, photo):
    faces = cascade.detect(astronaut)
    assert any(is_double(face, Face((170, 60, 275, 180), None, 1.0)) for face in faces)
    assert all(face.landmarks is None for face in faces)
    assert cascade.detect(photo('no_face')) == []


@pytest.mark.parametrize('detector', ['retinaface', 'yunet', 'cascade'])
@pytest.mark.parametrize('shape', [(1, 1), (7, 300), (40, 3)])
def test_tiny_and_narrow_images_hold_no_face(request, detector, shape):
    assert request.getfixturevalue(detector).detect(np.full((*shape, 3), 128, np.uint8)) == []


class Recorder(Detector):
    """Finds one face at fixed relative places, and remembers the sizes it searched."""

    def __init__(self, options: DetectorOptions, share: float) -> None:
        super().__init__(options)
        self.share = share
        self.searched: list[tuple[int, int]] = []

    def _search(self, image: np.ndarray) -> list[Face]:
        height, width = image.shape[:2]
        self.searched.append((height, width))
        side = self.share * width
        return [Face((0.25 * width, 0.5 * height, 0.25 * width + side, 0.5 * height + side), None, 0.95)]


@pytest.mark.parametrize('share', [0.02, 0.1, 0.3, 0.6])
def test_a_large_photo_is_searched_at_a_bounded_size_and_a_face_of_any_size_is_found_once(share):
    detector = Recorder(DetectorOptions(search_size=1000), share)
    [face] = detector.detect(np.zeros((2000, 3000, 3), np.uint8))
    assert detector.searched == [(667, 1000), (333, 500), (167, 250)]
    np.testing.assert_allclose(face.box, [750, 1000, 750 + share * 3000, 1000 + share * 3000], rtol=2e-3)


def test_a_face_in_a_much_larger_photo_is_found_at_its_place(photo, yunet):
    image = photo('one_face')
    large = np.asarray(
        Image.fromarray(image).resize((image.shape[1] * 8, image.shape[0] * 8), Image.Resampling.BICUBIC)
    )
    [small_face], [large_face] = yunet.detect(image), yunet.detect(large)
    np.testing.assert_allclose(large_face.landmarks / 8, small_face.landmarks, atol=7)


def test_doubles_are_merged_and_the_surest_stays():
    sure, double, other = (
        Face((0, 0, 50, 60), None, 0.99),
        Face((3, 4, 50, 62), None, 0.95),
        Face((80, 0, 120, 40), None, 1),
    )
    assert select_faces([double, other, sure], 0.9, 1, None) == [sure, other]


def test_neighbours_that_overlap_a_little_are_two_faces():
    assert not is_double(Face((0, 0, 50, 60), None, 1), Face((40, 0, 90, 60), None, 1))


def test_a_limit_keeps_the_largest_faces_from_left_to_right():
    faces = [Face((x, 0, x + side, side), None, 0.95) for x, side in ((300, 40), (0, 60), (100, 20), (200, 50))]
    assert [face.size[0] for face in select_faces(faces, 0.9, 1, 3)] == [60, 50, 40]


def test_small_and_unsure_faces_are_dropped():
    faces = [Face((0, 0, 15, 40), None, 1.0), Face((50, 0, 90, 40), None, 0.89)]
    assert select_faces(faces, 0.9, 16, None) == []


@pytest.mark.parametrize('detector', ['retinaface', 'yunet'])
def test_threads_may_share_a_detector(request, photo, detector):
    detector = request.getfixturevalue(detector)
    images = [photo(name) for name in ('four_faces', 'one_face')] * 3
    alone = [[face.box for face in detector.detect(image)] for image in images]
    with ThreadPoolExecutor(3) as pool:
        assert [[face.box for face in faces] for faces in pool.map(detector.detect, images)] == alone


@pytest.mark.parametrize('name', ['retinaface_resnet50', 'retinaface_mobile0.25', 'yunet'])
def test_missing_weights_say_how_to_get_them_and_fetch_nothing(no_weights, name):
    with pytest.raises(DataError, match=f'metaf2n weights fetch {name}'):
        build_detector(name)
    assert not no_weights.exists()


@pytest.mark.parametrize('name', ['retinaface_mobile0.25', 'yunet'])
def test_broken_weights_are_named(tmp_path, name):
    broken = tmp_path / 'broken.pth'
    broken.write_bytes(b'not weights at all')
    with pytest.raises(DataError, match=r'broken\.pth'):
        build_detector({'type': name, 'weights': str(broken)})


def test_weights_of_another_network_are_refused(weights_dir):
    path = weights_dir / 'realesr-animevideov3.pth'
    with pytest.raises(DataError, match='not the weights of the RetinaFace'):
        build_detector({'type': 'retinaface_mobile0.25', 'weights': str(path)})


@pytest.mark.parametrize(
    ('block', 'message'),
    [
        ('yunnet', "Did you mean 'yunet'"),
        ({'type': 'yunet', 'confidnce': 0.5}, "Did you mean 'confidence'"),
        ({'type': 'yunet', 'confidence': 90}, 'detector.confidence'),
        ({'type': 'cascade', 'weights': 'x.pth'}, 'no effect'),
    ],
)
def test_wrong_options_name_the_key(block, message):
    with pytest.raises(OptionError, match=message):
        build_detector(block)


@pytest.mark.parametrize('image', [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32)])
def test_grey_or_float_images_are_refused(cascade, image):
    with pytest.raises(ValueError, match='expected uint8'):
        cascade.detect(image)


@pytest.mark.slow
def test_the_resnet50_detector_is_built_from_a_file_of_its_shape_without_a_download(no_weights, photo):
    torch = pytest.importorskip('torch')
    from facexlib.detection.retinaface import RetinaFace

    torch.manual_seed(0)
    network = RetinaFace('resnet50', device='cpu').eval()
    no_weights.mkdir()
    state = {f'module.{key}': value for key, value in network.state_dict().items()}
    torch.save(state, no_weights / 'detection_Resnet50_Final.pth')
    detector = build_detector()
    assert detector.options.type == 'retinaface_resnet50'
    assert detector.confidence == 0.9
    for key, value in network.state_dict().items():
        assert torch.equal(detector.network.state_dict()[key], value)
    assert isinstance(detector.detect(photo('one_face')), list)


@pytest.mark.gpu
def test_retinaface_finds_the_same_faces_on_a_gpu(photo, weights_dir, retinaface):
    path = weights_dir / 'detection_mobilenet0.25_Final.pth'
    options = {'type': 'retinaface_mobile0.25', 'weights': str(path), 'confidence': 0.8}
    faces = build_detector(options, device='cuda').detect(photo('four_faces'))
    expected = retinaface.detect(photo('four_faces'))
    np.testing.assert_allclose([face.box for face in faces], [face.box for face in expected], atol=0.5)
