"""Folders, listings and LMDB: what is found, ignored and refused."""

from __future__ import annotations

import logging
import os
import pickle
import shutil

import numpy as np
import pytest

from metaf2n_arch.data.sources import ImageSource, first_few
from metaf2n_arch.images.writing import write_image
from metaf2n_arch.utils.checks import DataError


@pytest.fixture
def folder(tmp_path, astronaut):
    (tmp_path / 'sub').mkdir()
    write_image(tmp_path / 'b.png', astronaut[:50, :60])
    write_image(tmp_path / 'sub' / 'a.JPG', astronaut[:40, :40])
    (tmp_path / 'notes.txt').write_text('not an image')
    (tmp_path / '.hidden.png').write_text('not an image')
    return tmp_path


def test_a_folder_is_searched_in_depth_and_other_files_are_logged_once(folder, monkeypatch):
    logged = []
    handler = logging.Handler()
    handler.emit = lambda record: logged.append(record.getMessage())
    monkeypatch.setattr(logging.getLogger('basicsr'), 'handlers', [handler])
    source = ImageSource(folder, None, 'here')
    assert source.names == ['b.png', 'sub/a.JPG']
    assert source.size(0) == (50, 60)
    assert logged == ['here: notes.txt is ignored, no image suffix.']


@pytest.mark.skipif(os.name == 'nt', reason='links need a privilege there')
def test_linked_folders_are_searched_but_no_circle_is_run_round(folder, tmp_path_factory, astronaut):
    elsewhere = tmp_path_factory.mktemp('elsewhere')
    write_image(elsewhere / 'c.png', astronaut[:40, :40])
    (elsewhere / 'home').symlink_to(folder)
    (folder / 'sub' / 'up').symlink_to('..')
    (folder / 'linked').symlink_to(elsewhere)
    assert ImageSource(folder, None, 'here').names == ['b.png', 'linked/c.png', 'sub/a.JPG']


def test_a_corrupt_image_is_named_before_training_when_its_header_is_broken(folder):
    (folder / 'c.png').write_text('not an image')
    source = ImageSource(folder, None, 'here')
    with pytest.raises(DataError, match=r'c\.png cannot be read as an image'):
        source.require_at_least(10, 10, 'asked for')
    with pytest.raises(DataError, match=r'c\.png'):
        source.read(source.names.index('c.png'))


def test_broken_headers_are_counted_and_passed_over_where_asked(folder, monkeypatch):
    logged = []
    monkeypatch.setattr(logging.getLogger('basicsr'), 'warning', lambda text, *values: logged.append(text % values))
    (folder / 'c.png').write_text('not an image')
    (folder / 'd.png').write_bytes(b'')
    with pytest.raises(DataError, match=r'c\.png cannot be read .* 1 more cannot be read\. .*skip_unreadable: true\.$'):
        ImageSource(folder, None, 'datasets.train.x').require_at_least(10, 10, 'asked for')
    source = ImageSource(folder, None, 'here', skip_unreadable=True)
    source.require_at_least(10, 10, 'asked for')
    assert logged[-1] == 'here: 2 of 4 headers cannot be read; these images are skipped.'
    assert len(source) == 4, 'whatever reads one lists it'
    with pytest.raises(DataError, match=r'a\.JPG \(40x40\) is smaller than 41x41'):
        source.require_at_least(41, 41, 'asked for')
    for name in ('b.png', 'sub/a.JPG'):
        (folder / name).write_bytes(b'')
    with pytest.raises(DataError, match='3 more cannot be read'):
        source.require_at_least(10, 10, 'asked for')


def test_an_lmdb_that_is_cut_off_is_refused_when_the_set_is_built(data_dir, tmp_path):
    shutil.copytree(data_dir / 'pairs_x4' / 'gt.lmdb', tmp_path / 'gt.lmdb')
    file = tmp_path / 'gt.lmdb' / 'data.mdb'
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match=r'here: \S+data\.mdb is cut off'):
        ImageSource(tmp_path / 'gt.lmdb', None, 'here')


def test_too_small_images_are_named_with_their_size(folder):
    source = ImageSource(folder, None, 'here')
    source.require_at_least(40, 40, 'asked for')
    with pytest.raises(DataError, match=r'a\.JPG \(40x40\) is smaller than 41x41, asked for; remove'):
        source.require_at_least(41, 41, 'asked for')


def test_a_missing_an_empty_and_a_wrong_root_are_refused(tmp_path):
    with pytest.raises(DataError, match='is missing, expected a folder'):
        ImageSource(tmp_path / 'nowhere', None, 'here')
    with pytest.raises(DataError, match='here: there is no image in'):
        ImageSource(tmp_path, None, 'here')
    (tmp_path / 'file').write_text('')
    with pytest.raises(DataError, match='is a file, expected a folder'):
        ImageSource(tmp_path / 'file', None, 'here')


def test_listings_give_names_and_sizes(tmp_path, folder):
    listing = tmp_path / 'meta.txt'
    listing.write_text('sub/a.JPG (40,40,3) 1\n\nname with spaces.png\ngt/c.png, lq/c.png\n')
    source = ImageSource(folder, listing, 'here')
    assert source.names == ['sub/a.JPG', 'name with spaces.png', 'gt/c.png']
    assert source.sizes == [(40, 40), None, None]
    with pytest.raises(DataError, match=r'name with spaces\.png'):
        source.read(1)
    with pytest.raises(DataError, match=r'meta-info file .*nowhere\.txt cannot be read'):
        ImageSource(folder, tmp_path / 'nowhere.txt', 'here')


def test_lmdb_gives_what_the_folder_gives_after_pickling_too(data_dir):
    pairs = data_dir / 'pairs_x4'
    lmdb, files = ImageSource(pairs / 'gt.lmdb', None, 'here'), ImageSource(pairs / 'gt', None, 'here')
    np.testing.assert_array_equal(lmdb.read(0), files.read(0))
    again = pickle.loads(pickle.dumps(lmdb))
    np.testing.assert_array_equal(again.read(1), files.read(1))
    assert lmdb.size(1) == files.size(1)
    lmdb.names[0] = 'ghost.png'
    with pytest.raises(DataError, match="no entry 'ghost'"):
        lmdb.read(0)


def test_a_broken_lmdb_is_refused(tmp_path):
    root = tmp_path / 'x.lmdb'
    root.mkdir()
    (root / 'meta_info.txt').write_text('a.png (40,40,3) 1\n')
    with pytest.raises(DataError, match='cannot be opened as LMDB'):
        ImageSource(root, None, 'here').read(0)


def test_headers_are_sampled_evenly_in_large_sets(folder, monkeypatch):
    source = ImageSource(folder, None, 'here')
    source.names = [f'{i}.png' for i in range(5001)]
    source.sizes = [None] * 5001
    looked_at = []
    monkeypatch.setattr(source, 'size', lambda index: looked_at.append(index) or (9, 9))
    assert source.unfit(lambda h, w: h == w) == []
    assert len(looked_at) <= 2000
    assert max(np.diff(looked_at)) == 3


def test_a_listing_that_errs_about_a_size_refuses_nothing_by_itself(folder, tmp_path):
    listing = tmp_path / 'meta.txt'
    listing.write_text('b.png (5,5,3) 1\n')
    ImageSource(folder, listing, 'here').require_at_least(50, 60, 'asked for')
    with pytest.raises(DataError, match=r'b\.png \(50x60\) is smaller'):
        ImageSource(folder, listing, 'here').require_at_least(51, 60, 'asked for')


def test_offenders_are_counted():
    assert first_few(['a']) == 'a is'
    assert first_few(['a', 'b']) == 'a, b are'
    assert first_few(list('abcde')) == 'a, b, c and 2 more are'
