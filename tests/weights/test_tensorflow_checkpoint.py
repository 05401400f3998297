"""Which checkpoint a path means, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.weights.tensorflow_checkpoint import find_checkpoint


def lay(folder: Path, *names: str) -> Path:
    for name in names:
        for ending in ('index', 'meta', 'data-00000-of-00001'):
            (folder / f'{name}.{ending}').write_bytes(b'')
    return folder


@pytest.mark.parametrize('given', ['', '.index', '.meta', '.data-00000-of-00001'])
def test_a_checkpoint_is_known_by_its_name_and_by_each_of_its_files(tmp_path, given):
    lay(tmp_path, 'model-7.5k')
    assert find_checkpoint(tmp_path / f'model-7.5k{given}') == tmp_path / 'model-7.5k'


@pytest.mark.parametrize('listed', ['/home/authors/weights/Model0/model-9', 'C:\\\\weights\\\\model-9', 'model-9'])
def test_a_folder_means_the_newest_wherever_it_was_written(tmp_path, listed):
    lay(tmp_path, 'model-7', 'model-9', 'model-8')
    (tmp_path / 'checkpoint').write_text(f'model_checkpoint_path: "{listed}"\nall_model_checkpoint_paths: "model-7"\n')
    assert find_checkpoint(tmp_path) == tmp_path / 'model-9'


def test_a_folder_of_one_checkpoint_means_this_one(tmp_path):
    lay(tmp_path, 'model-7')
    assert find_checkpoint(tmp_path) == tmp_path / 'model-7'
    (tmp_path / 'checkpoint').write_text('model_checkpoint_path: "model-9"')
    assert find_checkpoint(tmp_path) == tmp_path / 'model-7'


def test_what_means_none_or_several_is_one_line(tmp_path):
    with pytest.raises(DataError, match=r'model-7: no TensorFlow checkpoint; expected the files model-7\.index and'):
        find_checkpoint(tmp_path / 'model-7.index')
    with pytest.raises(DataError, match='holds no TensorFlow checkpoint'):
        find_checkpoint(tmp_path)
    with pytest.raises(DataError, match=r'holds 2 TensorFlow checkpoints \(model-7, model-9\); name one'):
        find_checkpoint(lay(tmp_path, 'model-7', 'model-9'))
