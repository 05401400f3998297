"""The demo's data sets: a folder of their own per setting, and a runner that asks for none before they are made."""

from __future__ import annotations

import json

import numpy as np
import pytest

from metaf2n_arch.config.checks import check_files
from metaf2n_arch.data.demo_dataset import DemoFacePairDataset, DemoMetaF2NDataset
from metaf2n_arch.data.prepare.degrade import degrade
from metaf2n_arch.data.prepare.demo import folder_of, prepare_validation, validation_settings
from metaf2n_arch.degradation import DegradationConfig, DegradationParams
from metaf2n_arch.images.reading import read_image


def test_another_demo_moves_nothing_that_the_first_reads(tmp_path):
    first, second = DegradationConfig(), DegradationConfig.out_of_distribution()
    folder = prepare_validation(tmp_path / 'val', first, 1)
    files = {file: file.read_bytes() for file in folder.rglob('*') if file.is_file()}
    other = prepare_validation(tmp_path / 'val', second, 1)
    assert other != folder
    assert {file: file.read_bytes() for file in folder.rglob('*') if file.is_file()} == files
    assert prepare_validation(tmp_path / 'val', first, 1) == folder  # found again, not made again


def test_the_folder_depends_on_every_setting_and_the_files_are_what_the_draw_says(tmp_path):
    config = DegradationConfig(light=(0.5, 1.0))
    names = {
        folder_of(tmp_path, validation_settings(c, draws)).name
        for c in (config, DegradationConfig(), DegradationConfig(light=(0.5, 0.9)))
        for draws in (1, 2)
    }
    assert len(names) == 6
    folder = prepare_validation(tmp_path, config, 1)
    drawn = json.loads((folder / 'draws.json').read_text(encoding='utf-8'))['images']['astronaut_0']
    gt, lq = (read_image(folder / part / 'astronaut_0.png') for part in ('GT', 'LQ'))
    np.testing.assert_array_equal(degrade(gt, DegradationParams.from_dict(drawn)), lq)


def test_an_interrupted_making_leaves_no_folder(tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr('metaf2n_arch.data.prepare.demo.write_image', stop)
    with pytest.raises(KeyboardInterrupt):
        prepare_validation(tmp_path / 'val', DegradationConfig(), 1)
    assert list((tmp_path / 'val').iterdir()) == []


def test_the_runner_asks_for_no_folder_that_the_demo_makes_itself(tmp_path):
    block = {'type': 'DemoFacePairDataset', 'dataroot': str(tmp_path / 'none')}
    check_files({'datasets': {'val': block}, 'path': {}}, 'demo.yml')
    data_set = DemoFacePairDataset({**block, 'phase': 'val', 'scale': 4, 'draws': 1})
    assert len(data_set) == 1
    assert (data_set.entries[0].lq.parent.parent.parent) == tmp_path / 'none'


def test_training_has_hoppers_face_and_windows_in_its_own_folder(tmp_path):
    data_set = DemoMetaF2NDataset(
        {'dataroot': str(tmp_path / 'train'), 'phase': 'train', 'scale': 4, 'num_faces': 2, 'num_naturals': 2,
         'support_size': 64, 'query_size': 64, 'tasks_per_epoch': 3}
    )  # fmt: skip
    assert len(data_set.faces) == 11
    assert data_set[0]['face'].shape == (2, 3, 256, 256)
