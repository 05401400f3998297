"""The driver of all preparations: restarts, processes, bad images, settings."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from metaf2n_arch.data.prepare.driver import Summary, Unfit, each, prepare, read_or_unfit, save, stem
from metaf2n_arch.data.prepare.masks import Masks
from metaf2n_arch.images.writing import write_image
from metaf2n_arch.utils.checks import DataError


@dataclass(frozen=True)
class Flip:
    """Writes each image upside down."""

    source: Path
    out: Path
    command: str = 'flip'
    axis: int = 0

    def settings(self):
        return {'axis': self.axis}

    def check(self, name):
        if 'tiny' in name:
            raise Unfit(f'{name} is tiny')

    def __call__(self, name):
        self.check(name)
        return [save(self.out, f'{stem(name)}.png', np.flip(read_or_unfit(self.source / name), self.axis))]


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob('*.png')}


@pytest.mark.skipif(os.name == 'nt' or sys.platform == 'darwin', reason='its file names are Unicode')
def test_a_name_that_is_no_utf_8_is_skipped(album, tmp_path):
    before = prepare(Flip(album, tmp_path / 'one')).made
    shutil.copy(album / 'astronaut.png', os.fsencode(album) + b'/n\xe4me.png')
    shutil.copy(album / 'astronaut.png', album / 'at\u202f9 \xfcber.png')
    summary = prepare(Flip(album, tmp_path / 'two'))
    assert summary.made == before + 1
    assert [reason for reason in summary.skipped.values() if 'UTF-8' in reason] == [
        r"'n\udce4me.png' is not UTF-8 or contains a line break; rename it."
    ]


def threads_of_torch(name: str) -> tuple[bool, int]:
    """Whether torch was here before, and how many threads it takes."""
    here = 'torch' in sys.modules
    if name != 'ask':
        return here, 1
    import torch

    return here, torch.get_num_threads()


def test_processes_load_no_torch_by_themselves_and_give_it_one_thread():
    found = dict(each(threads_of_torch, [*map(str, range(40)), 'ask'], jobs=2))
    assert found.pop('ask') == (False, 1)
    assert set(found.values()) == {(False, 1)}


def test_one_file_is_one_file():
    assert Summary(made=1, files=1).describe() == '1 image done, 1 file written'


def test_every_good_image_is_done_and_every_bad_one_listed_with_its_reason(album, tmp_path, tree):
    summary = prepare(Flip(album, tmp_path / 'out'))
    assert tree(tmp_path / 'out') == ['astronaut.png', 'cat.png', 'deep/coffee.png', 'gray.png']
    assert (summary.made, summary.before, summary.files) == (4, 0, 4)
    assert sorted(summary.skipped) == ['cat.png', 'notes.txt', 'tiny.png', 'torn.png']
    assert 'cut off' in summary.skipped['torn.png']
    assert 'same place as cat.jpg' in summary.skipped['cat.png']
    assert summary.describe() == '4 images done, 4 files written, 4 skipped'
    flipped = read_or_unfit(tmp_path / 'out' / 'astronaut.png')
    np.testing.assert_array_equal(flipped, read_or_unfit(album / 'astronaut.png')[::-1])


def test_a_second_run_touches_nothing(album, tmp_path):
    prepare(Flip(album, tmp_path / 'out'))
    before = times(tmp_path / 'out')
    summary = prepare(Flip(album, tmp_path / 'out'))
    assert (summary.made, summary.before) == (0, 4)
    assert not summary.useless
    assert times(tmp_path / 'out') == before


def test_a_lost_file_and_a_changed_source_are_made_again_and_nothing_else(album, tmp_path):
    prepare(Flip(album, tmp_path / 'out'))
    before = times(tmp_path / 'out')
    (tmp_path / 'out' / 'gray.png').unlink()
    write_image(album / 'astronaut.png', np.full((40, 40, 3), 9, np.uint8))
    assert prepare(Flip(album, tmp_path / 'out')).made == 2
    changed = {name for name, time in times(tmp_path / 'out').items() if before.get(name) != time}
    assert changed == {'gray.png', 'astronaut.png'}


def test_an_interrupted_run_goes_on_even_after_a_torn_line(album, tmp_path):
    def stop_after_two(items, total):
        for number, item in enumerate(items):
            yield item
            if number == 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(Flip(album, tmp_path / 'out'), track=stop_after_two)
    with (tmp_path / 'out' / '.flip.jsonl').open('a') as file:
        file.write('{"image": "gra')
    summary = prepare(Flip(album, tmp_path / 'out'))
    assert (summary.made, summary.before) == (2, 2)
    assert prepare(Flip(album, tmp_path / 'out')).before == 4


def test_other_settings_are_not_mixed_into_a_folder(album, tmp_path):
    prepare(Flip(album, tmp_path / 'out'))
    with pytest.raises(DataError, match='axis 0, now 1'):
        prepare(Flip(album, tmp_path / 'out', axis=1))


def test_a_dry_run_reads_headers_and_writes_nothing(album, tmp_path):
    summary = prepare(Flip(album, tmp_path / 'out'), dry_run=True)
    assert summary.made == 5  # what is torn behind its header shows only when it is read
    assert 'tiny.png' in summary.skipped
    assert summary.describe(dry_run=True) == '5 images would be done, 3 skipped'
    assert not (tmp_path / 'out').exists()


def test_results_never_become_sources(album):
    for out in (album, album / 'out'):
        with pytest.raises(DataError, match='lies inside'):
            prepare(Flip(album, out))


def test_folders_without_images_are_errors(tmp_path):
    with pytest.raises(DataError, match='is not a folder'):
        prepare(Flip(tmp_path / 'missing', tmp_path / 'out'))
    (tmp_path / 'empty').mkdir()
    with pytest.raises(DataError, match='no image'):
        prepare(Flip(tmp_path / 'empty', tmp_path / 'out'))


def test_a_file_in_the_way_ends_the_run_rather_than_every_image(album, tmp_path):
    (tmp_path / 'out').write_text('a file')
    with pytest.raises(DataError, match='cannot be made'):
        prepare(Flip(album, tmp_path / 'out'))


def test_spawned_processes_give_the_same_files_as_one(album, tmp_path, tree):
    photo = read_or_unfit(album / 'astronaut.png')
    many = tmp_path / 'many'
    many.mkdir()
    for i in range(34):
        write_image(many / f'{i:02d}.png', photo[i : i + 40, 2 * i : 2 * i + 50])
    (many / '07.png').write_bytes(b'no image')
    one, two = (prepare(Masks(many, tmp_path / str(jobs)), jobs=jobs) for jobs in (1, 2))
    assert one == two
    assert list(one.skipped) == ['07.png']
    assert tree(tmp_path / '1') == tree(tmp_path / '2')
    for name in tree(tmp_path / '1'):
        assert (tmp_path / '1' / name).read_bytes() == (tmp_path / '2' / name).read_bytes()


def test_what_no_image_is_to_blame_for_is_raised():
    def full_disk(name):
        raise OSError(28, 'No space left on device')

    with pytest.raises(OSError, match='No space'):
        list(each(full_disk, ['a'], 1))


def test_16_bits_are_rounded_to_8(tmp_path):
    import cv2

    values = np.array([[[0, 128, 129], [256, 65407, 65535]]], np.uint16)
    cv2.imwrite(str(tmp_path / 'deep.png'), values[..., ::-1])
    expected = np.round(values.astype(np.float64) / 65535 * 255).astype(np.uint8)
    np.testing.assert_array_equal(read_or_unfit(tmp_path / 'deep.png'), expected)
