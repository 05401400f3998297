"""Files are there whole or not at all, whoever writes them and whatever stops the program."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from metaf2n_arch.images.photo import Photo
from metaf2n_arch.images.writing import write_image, write_photo
from metaf2n_arch.models.evaluation import write_json
from metaf2n_arch.report.document import Document
from metaf2n_arch.report.figures import loss_curves
from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.utils.files import write_whole

PIXELS = np.zeros((4, 4, 3), np.uint8)
WRITERS: dict[str, Callable[[Path], object]] = {
    'report.md': lambda path: Document('title').write(path.parent),
    'curves.png': lambda path: loss_curves({'l': [(1, 1.0)]}, {'loss': ['l']}, path),
    'metrics.json': lambda path: write_json(path, {'psnr': 1.0}),
    'image.png': lambda path: write_image(path, PIXELS),
    'photo.png': lambda path: write_photo(path, Photo(PIXELS)),
    'text': lambda path: write_whole(path, 'Grüße'),
}


@pytest.fixture(params=WRITERS)
def written(request, tmp_path) -> tuple[Callable[[Path], object], Path]:
    return WRITERS[request.param], tmp_path / 'folder' / request.param


def test_a_file_is_written_with_its_folder_and_nothing_beside_it(written):
    write, path = written
    write(path)
    assert path.stat().st_size > 0
    assert not [file for file in path.parent.iterdir() if file.name.startswith('.')]


def test_what_cannot_be_written_is_one_line(written):
    write, path = written
    path.mkdir(parents=True)
    with pytest.raises(DataError, match='cannot be written') as error:
        write(path)
    assert '\n' not in str(error.value)
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_one_line(written):
    write, path = written
    path.parent.touch()
    with pytest.raises(DataError, match='cannot be made'):
        write(path)


@pytest.mark.parametrize('moment', ['metaf2n_arch.utils.files.open_beside', 'os.replace'])
def test_a_program_stopped_while_writing_leaves_the_old_file_alone(written, moment, monkeypatch):
    write, path = written
    write(path)
    before = path.read_bytes()

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(moment, stop)
        with pytest.raises(KeyboardInterrupt):
            write(path)
    assert path.read_bytes() == before
    assert not [file for file in path.parent.iterdir() if file.name.startswith('.')]


def test_a_text_is_utf8_whatever_the_locale(tmp_path):
    write_whole(tmp_path / 'a.txt', 'Grüße\n')
    assert (tmp_path / 'a.txt').read_bytes() == b'Gr\xc3\xbc\xc3\x9fe\n'
