"""Our own lists: any name that a line can hold comes back as it was, from a list of ours and from others'."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaf2n_arch.data.meta_lines import meta_lines, parse_line
from metaf2n_arch.data.prepare.meta_info import write_meta_info
from metaf2n_arch.data.prepare.split import write_split
from metaf2n_arch.data.sources import ImageSource
from metaf2n_arch.images.reading import read_image
from metaf2n_arch.utils.checks import DataError

letters = st.text(st.characters(exclude_categories=('Cc', 'Cs', 'Zl', 'Zp'), exclude_characters='/\\'), max_size=20)
names = st.builds('{}{}{}'.format, letters, st.sampled_from(['', ', b', ' (1,2,3)', '(10, 20)', ' ']), st.just('x.png'))


@settings(max_examples=300, deadline=None)
@given(names, st.integers(1, 9999), st.integers(1, 9999))
def test_any_name_survives_a_line(name, height, width):
    line = meta_lines({name: (height, width)}).removesuffix('\n')
    found, size = parse_line(line)
    assert size == (height, width)
    assert found == name or ('.png, ' in name and name.startswith(found))


def test_lists_of_real_names_are_read_back_and_every_image_is_found(data_dir, tmp_path):
    folder = tmp_path / 'names'
    shutil.copytree(data_dir / 'odd' / 'names', folder)
    write_meta_info(folder, tmp_path / 'meta.txt')
    write_split(folder, tmp_path / 'lists', val=1)
    wanted = sorted(path.name for path in folder.iterdir())
    assert sorted(ImageSource(folder, tmp_path / 'meta.txt', 'here').names) == wanted
    listed = [ImageSource(folder, tmp_path / 'lists' / f'{part}.txt', 'here') for part in ('train', 'val')]
    assert sorted(listed[0].names + listed[1].names) == wanted
    for source in listed:
        for number, name in enumerate(source.names):
            np.testing.assert_array_equal(source.read(number), read_image(folder / name))
            assert source.sizes[number] == source.size(number)


def test_a_mark_of_utf_8_and_blanks_of_the_list_are_no_part_of_a_name(data_dir, tmp_path):
    shutil.copy(data_dir / 'odd' / 'names' / 'plain.png', tmp_path)
    source = ImageSource(tmp_path, data_dir / 'odd' / 'meta_with_bom.txt', 'here')
    assert source.names[0] == 'plain.png'
    assert source.read(0).shape[:2] == source.sizes[0]
    listing = tmp_path / 'list.txt'
    listing.write_bytes(b'  plain.png  \r\n\tplain.png (96,128,3)\r\n')
    assert ImageSource(tmp_path, listing, 'here').names == ['plain.png'] * 2


@pytest.mark.parametrize('name', ['../a.png', 'b/../../a.png', '/etc/a.png', '..\\a.png'])
def test_a_list_reaches_nothing_outside_its_folder(tmp_path, name):
    (tmp_path / 'root').mkdir()
    (tmp_path / 'list.txt').write_text(f'{name} (4,4,3)\n')
    with pytest.raises(DataError, match='outside'):
        ImageSource(tmp_path / 'root', tmp_path / 'list.txt', 'here')


def test_an_lmdb_that_is_cut_off_is_one_line(data_dir, tmp_path):
    shutil.copytree(data_dir / 'pairs_x4' / 'gt.lmdb', tmp_path / 'gt.lmdb')
    file = tmp_path / 'gt.lmdb' / 'data.mdb'
    file.chmod(0o644)
    whole = file.read_bytes()
    for length in (len(whole) // 2, len(whole) - 4096 * 3, 8192, 100):
        file.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r'cut off|cannot be opened') as caught:
            ImageSource(tmp_path / 'gt.lmdb', None, 'here').read(0)
        assert '\n' not in str(caught.value)
