"""Alignment: transforms against closed forms and scikit-image, warps there and back, the FFHQ square."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from metaf2n_arch.faces.alignment import (
    apply_matrix,
    compose,
    face_matrix,
    ffhq_crop,
    ffhq_square,
    invert,
    resize_matrix,
    similarity,
    square_matrix,
    template,
    warp,
)
from metaf2n_arch.faces.detector import Face
from metaf2n_arch.faces.pairs import to_float, warp_back

UPRIGHT = np.array([[40.0, 50.0], [80.0, 50.0], [60.0, 70.0], [45.0, 95.0], [75.0, 95.0]])


def turned(points: np.ndarray, degrees: float, scale: float = 1.0) -> np.ndarray:
    """Points turned clockwise (as seen in an image) round (60, 60)."""
    a = math.radians(degrees)
    turn = scale * np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
    return (points - 60) @ turn.T + 60


@pytest.mark.parametrize('degrees', [0, 17, 90, -135])
def test_similarity_equals_that_of_scikit_image(degrees):
    transform = pytest.importorskip('skimage.transform')
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(5, 2)) + turned(UPRIGHT, degrees, 0.7), template(256)
    expected = transform.SimilarityTransform()
    expected.estimate(source, target)
    np.testing.assert_allclose(similarity(source, target), expected.params[:2], atol=1e-9)


def test_landmarks_that_are_a_turned_template_land_on_the_template():
    landmarks = turned(template(512), 33, 0.2)
    face = Face((0, 0, 1, 1), landmarks, 1.0)
    np.testing.assert_allclose(apply_matrix(face_matrix(face, 256), landmarks), template(256), atol=1e-9)


def test_the_template_of_half_the_size_marks_the_same_places():
    np.testing.assert_allclose((template(256) + 0.5) * 2 - 0.5, template(512))


def test_a_face_without_landmarks_keeps_upright_and_centred():
    matrix = face_matrix(Face((100, 50, 140, 90), None, 1.0), 512)
    assert matrix[0, 1] == matrix[1, 0] == 0
    assert matrix[0, 0] == matrix[1, 1] > 0
    assert apply_matrix(matrix, np.array([[119.5, 67.5]]))[0] == pytest.approx([255.5, 255.5])


def test_landmarks_that_are_one_point_are_refused():
    point = np.ones((5, 2))
    with pytest.raises(ValueError, match='the same point'):
        similarity(point, template(512))
    with pytest.raises(ValueError, match='the same point'):
        ffhq_square(point)


def test_the_ffhq_square_of_an_upright_face_follows_the_equation():
    centre, x = ffhq_square(UPRIGHT)
    # Eyes at (60, 50), mouth at (60, 95): half side = max(2 · 40, 1.8 · 45) = 81, centre 0.1 · 45 below the eyes.
    assert centre == pytest.approx([60, 54.5])
    assert x == pytest.approx([81, 0])


@pytest.mark.parametrize(('degrees', 'scale'), [(20, 1.0), (180, 0.5), (-75, 3.0)])
def test_the_ffhq_square_turns_and_grows_with_the_face(degrees, scale):
    centre, x = ffhq_square(turned(UPRIGHT, degrees, scale))
    upright_centre, upright_x = ffhq_square(UPRIGHT)
    assert centre == pytest.approx(turned(upright_centre[None], degrees, scale)[0])
    expected = turned((60 + upright_x)[None], degrees, scale)[0] - 60
    assert x == pytest.approx(expected)


def test_the_corners_of_the_square_become_the_corners_of_the_image():
    centre, x = ffhq_square(turned(UPRIGHT, 25))
    y = np.array([-x[1], x[0]])
    corners = np.array([centre - x - y, centre + x - y, centre - x + y, centre + x + y])
    mapped = apply_matrix(square_matrix(centre, x, 64), corners)
    np.testing.assert_allclose(mapped, [[-0.5, -0.5], [63.5, -0.5], [-0.5, 63.5], [63.5, 63.5]], atol=1e-9)


def test_the_ffhq_square_of_a_real_portrait_is_the_portrait(data_dir, retinaface):
    from PIL import Image

    image = np.asarray(Image.open(data_dir / 'faces_hq' / 'ffhq_00001.png').convert('RGB'))
    [face] = retinaface.detect(image)
    centre, x = ffhq_square(face.landmarks)
    assert centre == pytest.approx([511.5, 511.5], abs=40)
    assert 2 * np.hypot(*x) == pytest.approx(1024, rel=0.08)
    assert abs(math.degrees(math.atan2(x[1], x[0]))) < 4


def test_compose_and_invert_are_those_of_matrices():
    first, second = similarity(UPRIGHT, template(128)), resize_matrix(3)
    points = np.array([[3.0, -2.0], [10.0, 7.0]])
    expected = apply_matrix(second, apply_matrix(first, points))
    np.testing.assert_allclose(apply_matrix(compose(second, first), points), expected)
    np.testing.assert_allclose(apply_matrix(invert(first), apply_matrix(first, points)), points)


@pytest.mark.parametrize('factor', [2, 3, 4])
def test_a_warp_that_shrinks_averages(astronaut, factor):
    image = to_float(astronaut)[: 504 // factor * factor, :504]
    size = 504 // factor
    shrunk = warp(image[:504], resize_matrix(1 / factor), (size, size))
    expected = image[:504].reshape(size, factor, size, factor, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(shrunk, expected, atol=1e-4)


def test_a_shrunk_fine_checkerboard_is_grey_and_not_a_coarse_one():
    board = np.indices((240, 240)).sum(axis=0).astype(np.float32)[:, :, None].repeat(3, 2) % 2
    matrix = compose(resize_matrix(0.3), np.array([[1.0, 0.02, 0.0], [-0.02, 1.0, 0.0]]))
    assert warp(board, matrix, (64, 64))[8:-8, 8:-8].std() < 0.1
    naive = cv2.warpAffine(board, matrix, (64, 64), flags=cv2.INTER_CUBIC)
    assert naive[8:-8, 8:-8].std() > 0.2


@pytest.mark.parametrize('size', [256, 512])
@pytest.mark.parametrize(('degrees', 'scale'), [(0, 1.0), (-23, 1.3), (70, 0.9)])
def test_dots_go_forth_and_back_to_the_same_pixels(size, degrees, scale):
    landmarks = turned(UPRIGHT, degrees, scale) + 20
    y, x = np.mgrid[0:180, 0:180]
    spots = np.array([[70.3, 75.6], [95.8, 78.1], [81.2, 99.7]])
    photo = sum(np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * 2.5**2)) for u, v in spots)
    photo = np.clip(photo, 0, 1).astype(np.float32)[:, :, None].repeat(3, 2)
    matrix = face_matrix(Face((0, 0, 1, 1), landmarks, 1.0), size)
    box, s = (50, 55, 120, 125), 4
    back = warp_back(warp(photo, matrix, (size, size)), matrix, box, s, np.zeros((280, 280, 3), np.float32))
    assert back.shape == (280, 280, 3)
    for u, v in spots:
        # Centre of gravity of each dot, within 10 pixels of the photo round it.
        cx, cy = (u + 0.5) * s - 0.5 - box[0] * s, (v + 0.5) * s - 0.5 - box[1] * s
        gy, gx = np.mgrid[0:280, 0:280]
        mass = back[:, :, 0] * (np.hypot(gx - cx, gy - cy) < 8 * s)
        found = (gx * mass).sum() / mass.sum(), (gy * mass).sum() / mass.sum()
        assert found == pytest.approx((cx, cy), abs=0.5)


def test_a_crop_inside_the_photo_is_a_plain_warp(astronaut):
    image = to_float(astronaut)
    landmarks = turned(UPRIGHT, 10, 0.5) + np.array([165, 60])
    expected = warp(image, square_matrix(*ffhq_square(landmarks), 128), (128, 128))
    np.testing.assert_array_equal(ffhq_crop(image, landmarks, 128), expected)


def test_a_crop_over_the_border_fades_and_leaves_the_inside_alone(astronaut):
    image = to_float(astronaut)
    landmarks = UPRIGHT + np.array([-20.0, 200.0])
    crop = ffhq_crop(image, landmarks, 256)
    plain = warp(image, square_matrix(*ffhq_square(landmarks), 256), (256, 256))
    side = 2 * np.hypot(*ffhq_square(landmarks)[1])
    border = -apply_matrix(invert(square_matrix(*ffhq_square(landmarks), 256)), np.zeros((1, 2)))[0, 0] * 256 / side
    inside = round(border + 0.1 * 256) + 2
    np.testing.assert_array_equal(crop[:, inside:], plain[:, inside:])
    outer = crop[:, : round(border / 2)]
    assert np.abs(np.diff(outer, axis=0)).mean() < 0.3 * np.abs(np.diff(plain[:, : round(border / 2)], axis=0)).mean()


def test_a_crop_of_one_colour_is_of_that_colour():
    crop = ffhq_crop(np.full((100, 100, 3), 0.25, np.float32), UPRIGHT, 64)
    np.testing.assert_allclose(crop, 0.25, atol=1e-5)
