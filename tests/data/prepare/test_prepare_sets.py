"""Degraded sets, LMDB, meta-info files and splits."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest

from metaf2n_arch.data.prepare.degrade import Degrade, degrade, draw
from metaf2n_arch.data.prepare.driver import prepare, read_or_unfit
from metaf2n_arch.data.prepare.lmdb import write_lmdb
from metaf2n_arch.data.prepare.meta_info import write_meta_info
from metaf2n_arch.data.prepare.split import photo_of, split_names, write_split
from metaf2n_arch.data.sources import ImageSource
from metaf2n_arch.degradation import DegradationParams
from metaf2n_arch.images.writing import write_image
from metaf2n_arch.utils.checks import DataError, OptionError

PHOTOS = ['astronaut', 'cat', 'deep/coffee', 'gray']


@pytest.mark.parametrize('family', ['iid', 'ood'])
def test_a_degraded_set_can_be_made_again_from_its_records(album, tmp_path, tree, family):
    summary = prepare(Degrade(album, tmp_path / 'out', family, 4, seed=3))
    assert summary.made == 4
    folders = ('GT/{}.png', 'LQ/{}.png', 'degradation/{}.json')
    assert tree(tmp_path / 'out') == sorted(f.format(name) for f in folders for name in PHOTOS)
    for name in PHOTOS:
        record = json.loads((tmp_path / 'out' / f'degradation/{name}.json').read_text())
        assert (record['family'], record['seed'], record['scale']) == (family, 3, 4)
        gt, lq = (read_or_unfit(tmp_path / 'out' / folder / f'{name}.png') for folder in ('GT', 'LQ'))
        assert gt.shape == (4 * lq.shape[0], 4 * lq.shape[1], 3)
        assert list(gt.shape[:2]) == record['gt_size']
        np.testing.assert_array_equal(degrade(gt, DegradationParams.from_dict(record['params'])), lq)


def test_a_draw_depends_on_name_family_scale_and_seed_alone(album, tmp_path):
    first = draw('astronaut', 'iid', 4, 0).to_dict()
    assert first == draw('astronaut', 'iid', 4, 0).to_dict()
    for other in (('cat', 'iid', 4, 0), ('astronaut', 'ood', 4, 0), ('astronaut', 'iid', 4, 1)):
        assert draw(*other).to_dict() != first
    prepare(Degrade(album, tmp_path / 'all'))
    alone = tmp_path / 'alone'
    alone.mkdir()
    shutil.copyfile(album / 'cat.jpg', alone / 'cat.jpg')
    prepare(Degrade(alone, tmp_path / 'one'))
    assert (tmp_path / 'all/LQ/cat.png').read_bytes() == (tmp_path / 'one/LQ/cat.png').read_bytes()


def test_a_degraded_set_is_the_same_with_one_process_and_with_two(astronaut, tmp_path, tree):
    source = tmp_path / 'many'
    source.mkdir()
    for i in range(32):
        write_image(source / f'{i:02d}.png', astronaut[4 * i : 4 * i + 64, 4 * i : 4 * i + 96])
    for jobs in (1, 2):
        assert prepare(Degrade(source, tmp_path / str(jobs), 'iid', 4, 5), jobs=jobs).made == 32
    for name in tree(tmp_path / '1'):
        assert (tmp_path / '1' / name).read_bytes() == (tmp_path / '2' / name).read_bytes(), name


def test_a_degraded_set_is_a_test_set(album, tmp_path):
    from metaf2n_arch.data.face_pair_dataset import FacePairDataset

    shutil.rmtree(album / 'deep')
    prepare(Degrade(album, tmp_path / 'out'))
    dataset = FacePairDataset({'dataroot': str(tmp_path / 'out'), 'scale': 4, 'phase': 'test'})
    assert len(dataset) == 3


def test_an_lmdb_is_read_by_basicsr_and_by_us(album, tmp_path):
    import cv2
    from basicsr.utils import FileClient, imfrombytes

    summary = write_lmdb(album, tmp_path / 'set.lmdb')
    assert summary.made == 5  # the image of 8 x 8 is an image
    assert 'torn.png' in summary.skipped
    assert sorted(p.name for p in (tmp_path / 'set.lmdb').iterdir()) == ['data.mdb', 'lock.mdb', 'meta_info.txt']
    lines = (tmp_path / 'set.lmdb' / 'meta_info.txt').read_text().splitlines()
    assert lines == [
        'astronaut.png (512,512,3) 1', 'cat.png (300,451,3) 1', 'deep/coffee.png (400,600,3) 1',
        'gray.png (512,512,3) 1', 'tiny.png (8,8,3) 1',
    ]  # fmt: skip
    shutil.copytree(tmp_path / 'set.lmdb', tmp_path / 'copy.lmdb')  # one process opens an LMDB once
    source = ImageSource(tmp_path / 'copy.lmdb', None, 'here')
    client = FileClient('lmdb', db_paths=[str(tmp_path / 'set.lmdb')], client_keys=['gt'])
    for i, line in enumerate(lines):
        key = line.split('.')[0]
        file = min((album / key).parent.glob(f'{(album / key).name}.*'))
        expected = cv2.imread(str(file))
        np.testing.assert_array_equal(imfrombytes(client.get(key, 'gt')), expected)
        np.testing.assert_array_equal(source.read(i), expected[..., ::-1])


def test_an_lmdb_equals_the_one_basicsr_makes(data_dir, tmp_path):
    import lmdb
    from basicsr.utils.lmdb_util import make_lmdb_from_imgs

    source = data_dir / 'pairs_x4' / 'gt'
    write_lmdb(source, tmp_path / 'ours.lmdb')
    theirs = str(tmp_path / 'theirs.lmdb')
    make_lmdb_from_imgs(str(source), theirs, ['baboon.png', 'comic.png'], ['baboon', 'comic'])
    listings = [(tmp_path / name / 'meta_info.txt').read_text() for name in ('ours.lmdb', 'theirs.lmdb')]
    assert listings[0] == listings[1]
    contents = []
    for name in ('ours.lmdb', 'theirs.lmdb'):
        with lmdb.open(str(tmp_path / name), readonly=True, lock=False) as environment:
            contents.append(dict(environment.begin().cursor()))
    assert contents[0] == contents[1]


def test_an_lmdb_broken_off_is_continued_and_a_finished_one_left_alone(album, tmp_path):
    def stop_after_three(items, total):
        for number, item in enumerate(items):
            if number == 3:
                raise KeyboardInterrupt
            yield item

    import metaf2n_arch.data.prepare.lmdb as module

    batch, module.BATCH = module.BATCH, 1
    try:
        with pytest.raises(KeyboardInterrupt):
            write_lmdb(album, tmp_path / 'set.lmdb', track=stop_after_three)
    finally:
        module.BATCH = batch
    assert not (tmp_path / 'set.lmdb').exists()
    summary = write_lmdb(album, tmp_path / 'set.lmdb')
    assert (summary.made, summary.before) == (2, 3)
    assert len((tmp_path / 'set.lmdb' / 'meta_info.txt').read_text().splitlines()) == 5
    (album / 'torn.png').unlink()
    assert write_lmdb(album, tmp_path / 'set.lmdb').before == 5
    write_image(album / 'new.png', np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(DataError, match='lacks new; remove it'):
        write_lmdb(album, tmp_path / 'set.lmdb')


def test_names_that_basicsr_cannot_look_up_are_listed(album, tmp_path):
    write_image(album / 'version1.2.png', np.zeros((9, 9, 3), np.uint8))
    write_image(album / 'Käse.png', np.zeros((9, 9, 3), np.uint8))
    skipped = write_lmdb(album, tmp_path / 'set.lmdb').skipped
    assert 'dot' in skipped['version1.2.png']
    assert 'ASCII' in skipped['Käse.png']
    with pytest.raises(OptionError, match=r'\.lmdb'):
        write_lmdb(album, tmp_path / 'set')


def test_a_meta_info_file_lists_what_can_be_read(album, tmp_path):
    assert write_meta_info(album, tmp_path / 'meta.txt').made == 6
    summary = write_meta_info(album, tmp_path / 'meta.txt', decode=True)
    assert 'torn.png' in summary.skipped
    source = ImageSource(album, tmp_path / 'meta.txt', 'here')
    assert source.names == ['astronaut.png', 'cat.jpg', 'deep/coffee.png', 'gray.png', 'tiny.png']
    assert source.sizes[1] == (300, 451)
    assert all(source.size(i) == source.sizes[i] for i in range(5))


def test_a_split_is_a_partition_that_keeps_photos_together():
    names = [
        f'{photo:03d}T{scale}_s{crop:03d}.png' for photo in range(40) for scale in range(2) for crop in range(1, 6)
    ]
    lists = split_names(names, val=0.1, test=45, seed=1)
    assert sorted(name for part in lists.values() for name in part) == sorted(names)
    photos = [{photo_of(name) for name in part} for part in lists.values()]
    assert not any(a & b for i, a in enumerate(photos) for b in photos[:i])
    assert (len(lists['val']), len(lists['test'])) == (40, 50)
    assert split_names(names[::-1], 0.1, 45, 1) == lists
    assert split_names(names, 0.1, 45, 2) != lists


def test_a_split_that_leaves_nothing_to_train_on_is_refused():
    with pytest.raises(OptionError, match='take all 2 images'):
        split_names(['a.png', 'b.png'], val=2)
    with pytest.raises(OptionError, match='expected a share'):
        split_names(['a.png', 'b.png'], val=-1)
    for share in (1.5, math.nan, math.inf):
        with pytest.raises(OptionError, match='expected a share'):
            split_names(['a.png', 'b.png'], test=share)


def test_lists_of_a_split_are_meta_info_files(album, tmp_path):
    lengths, summary = write_split(album, tmp_path / 'lists', val=2)
    assert lengths == {'train': 4, 'val': 2, 'test': 0}
    assert summary.files == 2
    assert len(ImageSource(album, tmp_path / 'lists' / 'val.txt', 'here')) == 2
    assert not (tmp_path / 'lists' / 'test.txt').exists()


def test_a_list_of_a_split_chooses_what_is_degraded(album, tmp_path, tree):
    write_split(album, tmp_path / 'lists', val=2)
    listed = ImageSource(album, tmp_path / 'lists' / 'val.txt', 'here').names
    summary = prepare(Degrade(album, tmp_path / 'out'), listing=tmp_path / 'lists' / 'val.txt')
    assert summary.made + len(summary.skipped) == len(listed) == 2
    done = [name for name in listed if name not in summary.skipped]
    assert [f for f in tree(tmp_path / 'out') if f.startswith('LQ/')] == sorted(
        f'LQ/{n.rsplit(".", 1)[0]}.png' for n in done
    )


def test_every_skipped_file_has_its_reason_in_a_file(album, tmp_path):
    summary = prepare(Degrade(album, tmp_path / 'out'))
    assert summary.listed == tmp_path / 'out' / '.degrade.skipped.txt'
    lines = dict(line.split('\t', 1) for line in summary.listed.read_text().splitlines())
    assert lines.keys() == summary.skipped.keys() == {'cat.png', 'notes.txt', 'tiny.png', 'torn.png'}
    assert 'cut off' in lines['torn.png']
