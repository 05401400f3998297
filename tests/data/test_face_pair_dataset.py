"""Prepared test sets: items, and every way a layout can be wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from metaf2n_arch.data.face_pair_dataset import FacePairDataset
from metaf2n_arch.images.arrays import to_tensor
from metaf2n_arch.images.reading import read_image
from metaf2n_arch.images.writing import write_image
from metaf2n_arch.utils.checks import DataError, OptionError


@pytest.fixture
def layout(tmp_path, astronaut):
    """Two images: `a` with faces 0, 2 and 10, `b_1` without."""
    for name in ('GT', 'LQ', 'Face_LQ', 'Face_HQ'):
        (tmp_path / name).mkdir()
    for stem in ('a', 'b_1'):
        write_image(tmp_path / 'GT' / f'{stem}.png', astronaut[:256, :320])
        write_image(tmp_path / 'LQ' / f'{stem}.png', astronaut[:256:4, :320:4])
    for number in (10, 0, 2):
        side = 64 + 4 * number
        face = astronaut[:side, 180 : 180 + side]
        write_image(tmp_path / 'Face_HQ' / f'a_{number}.png', face)
        write_image(tmp_path / 'Face_LQ' / f'a_{number}.png', np.ascontiguousarray(face[::4, ::4]))
    return tmp_path


def build(root, **more) -> FacePairDataset:
    return FacePairDataset(
        {'name': 'x', 'type': 'FacePairDataset', 'phase': 'test', 'scale': 4, 'dataroot': str(root), **more}
    )


def test_items_hold_image_truth_and_faces_in_numerical_order(layout):
    dataset = build(layout)
    item = dataset[0]
    assert item['lq'].shape == (3, 64, 80)
    torch.testing.assert_close(item['gt'], to_tensor(read_image(layout / 'GT' / 'a.png')), rtol=0, atol=0)
    assert [tuple(face.shape[1:]) for face in item['face_hq']] == [(64, 64), (72, 72), (104, 104)]
    assert [tuple(face.shape[1:]) for face in item['face_lq']] == [(16, 16), (18, 18), (26, 26)]
    assert item['lq_path'] == str(layout / 'LQ' / 'a.png')
    assert dataset[1]['face_lq'] == []
    assert len(dataset) == 2


def test_the_hosts_loader_batches_items_one_by_one(layout):
    with_faces, without = list(DataLoader(build(layout), batch_size=1))
    assert with_faces['lq'].shape == (1, 3, 64, 80)
    assert [tuple(face.shape) for face in with_faces['face_lq']] == [(1, 3, 16, 16), (1, 3, 18, 18), (1, 3, 26, 26)]
    assert without['face_lq'] == []


def test_ground_truth_and_face_folders_are_optional(layout):
    for name in ('GT', 'Face_LQ', 'Face_HQ'):
        for file in (layout / name).iterdir():
            file.unlink()
        (layout / name).rmdir()
    item = build(layout)[0]
    assert 'gt' not in item
    assert 'gt_path' not in item
    assert item['face_hq'] == []


def test_suffixes_of_partners_may_differ(layout, astronaut):
    (layout / 'LQ' / 'b_1.png').unlink()
    write_image(layout / 'LQ' / 'b_1.bmp', np.ascontiguousarray(astronaut[:256:4, :320:4]))
    assert build(layout)[1]['lq_path'].endswith('b_1.bmp')


def test_a_face_of_an_image_whose_name_ends_in_a_number_finds_it(layout, astronaut):
    write_image(layout / 'Face_HQ' / 'b_1_0.png', astronaut[:64, :64])
    write_image(layout / 'Face_LQ' / 'b_1_0.png', np.ascontiguousarray(astronaut[:64:4, :64:4]))
    dataset = build(layout)
    assert len(dataset[0]['face_lq']) == 3
    assert len(dataset[1]['face_lq']) == 1


def break_stray(layout, photo):
    for side, step in (('Face_HQ', 1), ('Face_LQ', 4)):
        write_image(layout / side / 'ghost_0.png', np.ascontiguousarray(photo[:64:step, :64:step]))


def break_partner(layout, photo):
    (layout / 'Face_HQ' / 'a_2.png').unlink()


def break_face_size(layout, photo):
    write_image(layout / 'Face_HQ' / 'a_2.png', photo[:71, :72])


def break_truth_size(layout, photo):
    write_image(layout / 'GT' / 'a.png', photo[:255, :320])


def break_truth_missing(layout, photo):
    (layout / 'GT' / 'a.png').unlink()


def break_corrupt(layout, photo):
    (layout / 'LQ' / 'a.png').write_text('no image')


def break_twice(layout, photo):
    write_image(layout / 'LQ' / 'a.jpg', np.ascontiguousarray(photo[:256:4, :320:4]))


def break_empty(layout, photo):
    for file in (layout / 'LQ').iterdir():
        file.unlink()


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (break_stray, 'ghost_0 is a face of no image in LQ/'),
        (break_partner, 'a_2 is in only one of Face_LQ/ and Face_HQ/'),
        (break_face_size, r'a_2\.png \(71x72, its low-quality side 18x18\) is not exactly 4 times'),
        (break_truth_size, r'GT/a\.png \(255x320, its low-quality side 64x80\) is not exactly 4 times'),
        (break_truth_missing, 'a is in LQ/ but not in GT/'),
        (break_corrupt, r'LQ/a\.png cannot be read as an image'),
        (break_twice, r'a\.(png|jpg) are the same image'),
        (break_empty, r'there is no image in .*LQ'),
    ],
)
def test_every_mistake_in_a_layout_is_one_clear_line(layout, astronaut, damage, message):
    damage(layout, astronaut)
    with pytest.raises(DataError, match=message) as caught:
        build(layout)
    assert '\n' not in str(caught.value)


def test_a_missing_root_and_an_unknown_key_are_refused(tmp_path):
    with pytest.raises(DataError, match=r'datasets\.test\.dataroot: there is no folder'):
        build(tmp_path / 'nowhere')
    with pytest.raises(OptionError, match=r"datasets\.test\.data_root: unknown key\. Did you mean 'dataroot'"):
        build(tmp_path, data_root='x')


def test_real_pairs_load(data_dir, tmp_path):
    for side, name in (('GT', 'gt'), ('LQ', 'lq')):
        (tmp_path / side).symlink_to(data_dir / 'pairs_x4' / name)
    dataset = build(tmp_path)
    assert [tuple(item['gt'].shape) for item in (dataset[0], dataset[1])] == [(3, 480, 492), (3, 360, 240)]
