"""Which photos are found, and where results go: nothing overwritten, nothing passed over in silence."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaf2n_arch.photos.jobs import Job, collect
from metaf2n_arch.photos.outcomes import Outcome
from metaf2n_arch.utils.checks import OptionError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b'x')
    return folder


def test_every_file_of_a_folder_is_done_or_named(tmp_path):
    names = ['a.jfif', 'b.jpe', 'c.JP2', 'd.ppm', 'e.gif', 'f.avif', 'g.heic', 'h.JPG', 'i.jxl']
    touch(tmp_path / 'in', *names, 'notes.txt', 'film.mp4', 'nothing')
    passed: dict[str, str] = {}
    jobs = collect([tmp_path / 'in'], tmp_path / 'out', passed=passed)
    assert sorted(Path(job.file).name for job in jobs) == sorted(names)
    assert {Path(name).name: why for name, why in passed.items()} == {
        'notes.txt': '.txt is not an image suffix',
        'film.mp4': '.mp4 is not an image suffix',
        'nothing': 'the name has no image suffix',
    }
    results = {Path(job.file).name: job.name for job in jobs}
    assert (results['a.jfif'], results['e.gif'], results['g.heic']) == ('a.jfif', 'e.png', 'g.png')


@pytest.mark.skipif(os.name == 'nt', reason='links need a privilege there')
def test_linked_folders_are_searched(tmp_path):
    touch(tmp_path / 'elsewhere', 'a.png')
    touch(tmp_path / 'in', 'b.png')
    (tmp_path / 'in' / 'linked').symlink_to(tmp_path / 'elsewhere')
    assert [job.name for job in collect([tmp_path / 'in'], tmp_path / 'out')] == ['b.png', 'linked/a.png']


def test_patterns_fit_in_folders_of_any_name_and_suffixes_in_any_case(tmp_path):
    folder = touch(tmp_path / 'x [2020]', 'A.JPG', 'b.jpeg', 'c.png', 'd.JPE')
    assert [job.name for job in collect([f'{folder}/*.j*'], tmp_path / 'out')] == ['A.JPG', 'b.jpeg', 'd.JPE']
    assert [job.name for job in collect([f'{tmp_path}/x*/[A-b]*.*'], tmp_path / 'out')] == ['A.JPG', 'b.jpeg']


def test_a_format_that_is_only_read_takes_no_name_of_another(tmp_path):
    folder = touch(tmp_path / 'in', 'a.gif', 'a.png')
    names = {Path(job.file).name: job.name for job in collect([folder / 'a.png', folder / 'a.gif'], tmp_path / 'out')}
    assert names == {'a.png': 'a.png', 'a.gif': 'a.gif.png'}


def test_comparisons_overwrite_nothing(tmp_path):
    folder = touch(tmp_path / 'p', 'a.png', 'compare/a.png')
    assert len(collect([folder], tmp_path / 'out')) == 2
    with pytest.raises(OptionError, match='the comparison of'):
        collect([folder], tmp_path / 'out', compare=True)
    names = ['a.png', 'a.jpg', 'a.png.jpg']
    folder = touch(tmp_path / 'q', *names)
    for order in itertools.permutations(names):
        jobs = collect([folder / name for name in order], tmp_path / 'out', compare=True)
        assert len({job.sheet for job in jobs} | {job.name for job in jobs}) == 6


stems = st.sampled_from(['a', 'b', 'a.png', 'compare', 'ä b', 'a.jpg'])
endings = st.sampled_from(['.png', '.jpg', '.JPG', '.gif', '.heic', '.jpeg'])
files = st.lists(
    st.tuples(st.sampled_from(['', 'compare/', 'sub/']), stems, endings).map(''.join), min_size=1, unique=True
)


@settings(max_examples=100, deadline=None)
@given(files, st.sampled_from([None, 'jpeg', 'png']), st.booleans())
def test_no_two_files_of_a_run_have_one_place(tmp_path_factory, names, suffix, compare):
    folder = tmp_path_factory.mktemp('run')
    touch(folder / 'in', *names)
    try:
        jobs = collect([folder / 'in'], folder / 'out', suffix, compare)
    except OptionError:
        return
    places = [job.name for job in jobs] + ([job.sheet for job in jobs] if compare else [])
    assert len(set(places)) == len(places)
    assert len(jobs) == len(names)


def test_a_name_that_holds_a_line_break_or_an_escape_stays_on_its_line():
    job = Job('a\nb.png', 'out', 'a\x1b[31m.png', 'compare')
    assert str(Outcome(job, 'no image')) == r'a\nb.png: no image'
    assert str(Outcome(job, size=(4, 4))) == r'out/a\x1b[31m.png: 4 x 4, no face, restored unadapted'
