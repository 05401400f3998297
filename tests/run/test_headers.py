"""Headers of BasicSR's own data sets: a bad file or pair is told before training, one that the host takes is not."""

from __future__ import annotations

import logging
import shutil

import cv2
import numpy as np
import pytest

from metaf2n_arch.run.headers import check_headers
from metaf2n_arch.utils.checks import DataError


@pytest.fixture
def pairs(tmp_path, astronaut):
    """Eight pairs of 64² and 16² cut from a photograph, and the options of a set of them."""
    for side in ('gt', 'lq'):
        (tmp_path / side).mkdir()
    for i in range(8):
        crop = np.ascontiguousarray(astronaut[50 * i : 50 * i + 64, 100:164, ::-1])
        cv2.imwrite(str(tmp_path / 'gt' / f'{i}.png'), crop)
        cv2.imwrite(str(tmp_path / 'lq' / f'{i}.png'), cv2.resize(crop, (16, 16), interpolation=cv2.INTER_AREA))
    roots = {f'dataroot_{side}': str(tmp_path / side) for side in ('gt', 'lq')}
    return {'phase': 'train', 'scale': 4, 'gt_size': 32, 'io_backend': {'type': 'disk'}, **roots}


def check(options, kind='PairedImageDataset'):
    from basicsr.data import DATASET_REGISTRY

    check_headers(DATASET_REGISTRY.get(kind)(options))


def test_good_pairs_pass_and_one_of_another_scale_is_named_with_its_partner(pairs, tmp_path):
    check(pairs)
    image = cv2.imread(str(tmp_path / 'gt' / '6.png'))
    cv2.imwrite(str(tmp_path / 'gt' / '6.png'), image[:60])
    with pytest.raises(DataError) as caught:
        check(pairs)
    gt, lq = tmp_path / 'gt' / '6.png', tmp_path / 'lq' / '6.png'
    assert str(caught.value) == (
        f'datasets.train: {gt} (60x64) is not 4 times as large as {lq} (16x16); remove it, or correct gt_size or scale.'
    )
    with pytest.raises(DataError, match=r'6\.png \(60x64\) is not 4 times'):
        check({**pairs, 'phase': 'val'})
    cv2.imwrite(str(tmp_path / 'gt' / '6.png'), cv2.copyMakeBorder(image, 0, 3, 0, 1, cv2.BORDER_REPLICATE))
    check({**pairs, 'phase': 'val'})  # the host cuts it
    with pytest.raises(DataError, match=r'6\.png \(67x65\)'):
        check(pairs)
    cv2.imwrite(str(tmp_path / 'gt' / '6.png'), image)
    with pytest.raises(DataError, match=r'\(64x64\) is smaller than gt_size 128 \(8 such pairs\)'):
        check({**pairs, 'gt_size': 128})


def test_a_file_that_is_no_image_is_one_line_or_is_passed_over(pairs, tmp_path, monkeypatch):
    (tmp_path / 'lq' / '3.png').write_text('not an image')
    with pytest.raises(DataError) as caught:
        check(pairs)
    assert str(caught.value) == (
        f'{tmp_path}/lq/3.png: not an image that OpenCV can read (12 bytes); replace or remove the file. To skip '
        'such images, set datasets.train.skip_unreadable: true.'
    )
    logged = []
    monkeypatch.setattr(logging.getLogger('basicsr'), 'warning', lambda text, *values: logged.append(text % values))
    check({**pairs, 'skip_unreadable': True})
    assert logged == ['datasets.train: 1 of 8 headers cannot be read; these images are skipped.']
    with pytest.raises(DataError, match=r'3\.png'):
        check({**pairs, 'phase': 'val', 'skip_unreadable': True})
    for i in range(8):
        (tmp_path / 'lq' / f'{i}.png').write_text('not an image')
    with pytest.raises(DataError, match=r'\d\.png: not an image .* 7 more cannot be read\.$'):
        check({**pairs, 'skip_unreadable': True})


@pytest.mark.parametrize('kind', ['SingleImageDataset', 'RealESRGANPairedDataset'])
def test_other_sets_of_the_host_are_looked_at_too(pairs, tmp_path, kind):
    check({**pairs, 'phase': 'val', 'gt_size': None}, kind)
    (tmp_path / 'lq' / '5.png').write_bytes(b'')
    with pytest.raises(DataError, match=r'lq/5\.png: not an image .* \(0 bytes\)'):
        check({**pairs, 'phase': 'val'}, kind)


def test_what_only_opencv_reads_passes(pairs, tmp_path):
    """A Radiance file is no format of ours, but the host trains on it."""
    image = cv2.imread(str(tmp_path / 'gt' / '2.png')).astype(np.float32) / 255
    assert cv2.imwrite(str(tmp_path / 'gt' / '2.hdr'), image)
    (tmp_path / 'gt' / '2.hdr').replace(tmp_path / 'gt' / '2.png')
    check(pairs)


def test_a_photo_turned_by_exif_is_as_high_as_the_host_reads_it(pairs, tmp_path):
    from PIL import Image

    tall = Image.open(tmp_path / 'gt' / '1.png').resize((64, 96))
    exif = Image.Exif()
    exif[274] = 6
    tall.save(tmp_path / 'gt' / '1.png', 'JPEG', exif=exif)  # 96 wide and 64 high once turned
    assert cv2.imread(str(tmp_path / 'gt' / '1.png')).shape == (64, 96, 3)
    tall.resize((24, 16)).save(tmp_path / 'lq' / '1.png')
    check(pairs)


def test_an_lmdb_is_looked_at_and_left_for_the_host_to_open(data_dir, tmp_path):
    for side in ('gt', 'lq'):
        shutil.copytree(data_dir / 'pairs_x4' / f'{side}.lmdb', tmp_path / f'{side}.lmdb')
    roots = {f'dataroot_{side}': str(tmp_path / f'{side}.lmdb') for side in ('gt', 'lq')}
    options = {'phase': 'val', 'scale': 4, 'io_backend': {'type': 'lmdb'}, **roots}
    from basicsr.data import DATASET_REGISTRY

    data_set = DATASET_REGISTRY.get('PairedImageDataset')(options)
    check_headers(data_set)
    assert data_set[0]['lq'].shape[0] == 3
    shutil.copytree(tmp_path / 'lq.lmdb', tmp_path / 'cut.lmdb')
    file = tmp_path / 'cut.lmdb' / 'data.mdb'
    file.write_bytes(file.read_bytes()[:20_000])
    options = {**options, 'io_backend': {'type': 'lmdb'}, 'dataroot_lq': str(tmp_path / 'cut.lmdb')}
    with pytest.raises(DataError, match=r'data\.mdb is cut off: 20000 of \d+ bytes are there'):
        check_headers(DATASET_REGISTRY.get('PairedImageDataset')(options))
