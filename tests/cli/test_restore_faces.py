"""Faces under control of `metaf2n restore`: chosen, listed, saved, skipped, pasted."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from metaf2n_arch.cli.main import app
from metaf2n_arch.faces.alignment import face_matrix
from metaf2n_arch.faces.detector import Face
from metaf2n_arch.faces.pairs import FacePair
from metaf2n_arch.faces.pasting import pasted_strips
from metaf2n_arch.images.reading import read_image
from metaf2n_arch.utils.checks import OptionError


@pytest.fixture
def group(data_dir: Path, tmp_path: Path) -> Path:
    """A group photo of 1500 x 1000 with twelve real faces of about 35 pixels."""
    photo = cv2.resize(read_image(data_dir / 'photos/realesrgan_no_face_448x640.png'), (1500, 1000))
    faces = [read_image(path) for path in sorted((data_dir / 'faces_hq').glob('*.png'))]
    for number in range(12):
        x, y = 100 + 240 * (number % 6), 200 + 500 * (number // 6)
        photo[y : y + 60, x : x + 60] = cv2.resize(faces[number % 4], (60, 60), interpolation=cv2.INTER_AREA)
    path = tmp_path / 'group.png'
    cv2.imwrite(str(path), photo[..., ::-1])
    return path


def run(data_dir: Path, *arguments: object):
    weights = data_dir / 'weights'
    detector = f'{{type: yunet, weights: {weights / "face_detection_yunet_2023mar.onnx"}}}'
    words = ['restore', *map(str, arguments), '--detector', detector, '--restorer', 'identity', '--device', 'cpu']
    return CliRunner().invoke(app, [*words, '--weights', str(data_dir / 'odd/good.pth')])


def test_faces_of_a_group_are_listed_on_a_copy_without_weights_of_a_generator(data_dir, group, tmp_path):
    result = run(data_dir, group, '-o', tmp_path / 'out', '--list-faces', '--skip-faces', '1')
    assert result.exit_code == 0, result.output
    assert 'group.png: 12 faces' in result.output
    assert result.output.count(' skipped') == 1
    assert '1 photo searched, 12 faces found\n' in result.output
    before, after = read_image(group), read_image(tmp_path / 'out/group.png')
    assert before.shape == after.shape
    assert 0 < (before != after).any(-1).mean() < 0.05


def test_largest_number_and_skipped_faces(data_dir, tmp_path):
    photo = data_dir / 'photos/codeformer_four_faces_491x310.jpg'
    for words, count in ((['--faces', 'largest'], 1), (['--faces', '3', '--skip-faces', '0'], 2)):
        out = tmp_path / words[1]
        result = run(data_dir, photo, '-o', out, '--save-faces', *words)
        assert result.exit_code == 0, result.output
        assert 'not meta-trained' in result.output
        for folder in ('Face_LQ', 'Face_HQ'):
            assert len(list((out / 'faces' / folder).glob('*.png'))) == count


@pytest.mark.parametrize(
    ('words', 'message'), [(['--faces', 'some'], 'largest, or all'), (['--skip-faces', 'a'], '0,2')]
)
def test_wrong_numbers_are_refused(data_dir, tmp_path, words, message):
    result = run(data_dir, data_dir / 'photos/codeformer_one_face_400x225.jpg', '-o', tmp_path, *words)
    assert isinstance(result.exception, OptionError)
    assert message in str(result.exception)


@pytest.mark.parametrize('rows', [5, 40])
def test_a_face_is_pasted_where_it_lies_in_its_frame_and_nowhere_else(rows):
    """A white face on black: strength in the ellipse's middle, nothing outside it, the same in any strips."""
    face = Face((30, 10, 50, 30), None, 1.0)
    pair = FacePair(torch.zeros(3, 1, 1), torch.zeros(3, 1, 1), (30, 10, 50, 30), None, 1.0)
    white = np.ones((64, 64, 3), np.float32)
    pair = FacePair(**{**vars(pair), 'aligned': white, 'matrix': face_matrix(face, 64)})
    strips = torch.zeros(1, 3, 80, 160).split(2 * rows, -2)
    result = torch.cat(list(pasted_strips((s.clone() for s in strips), [pair], (40, 80), 2, 0.5)), -2)[0]
    (a, _, left), (_, b, top) = pair.matrix  # upright
    expected = np.zeros((80, 160))
    for y in range(80):
        for x in range(160):
            u, v = (a * (x / 2 - 0.25) + left + 0.5) / 64, (b * (y / 2 - 0.25) + top + 0.5) / 64
            radius = (((u - 0.5) / 0.3) ** 2 + ((v - 0.57) / 0.36) ** 2) ** 0.5
            expected[y, x] = 0.5 * min(1.0, max(0.0, (1 - radius) / 0.3))
    assert np.abs(result.numpy() - expected).max() < 1e-3
    assert result.max() == pytest.approx(0.5, abs=1e-3)
    assert 20 < (result[0, 40] > 0).sum() < 45  # of the 64 pixels that the frame is wide
