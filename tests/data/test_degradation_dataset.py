"""Single images with a draw: content, visits, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from metaf2n_arch.data.degradation_dataset import DegradationDataset
from metaf2n_arch.degradation import apply_batch
from metaf2n_arch.images.arrays import to_tensor
from metaf2n_arch.images.reading import read_image
from metaf2n_arch.utils.checks import DataError, OptionError
from metaf2n_arch.utils.rng import Visit


@pytest.fixture
def options(photo_folders) -> dict:
    return {
        'name': 'photos',
        'type': 'DegradationDataset',
        'phase': 'train',
        'scale': 4,
        'dataroot_gt': str(photo_folders / 'naturals'),
        'io_backend': {'type': 'disk'},
        'gt_size': 64,
        'use_rot': True,
    }


def test_a_batch_of_items_can_be_degraded(options):
    batch = next(iter(DataLoader(DegradationDataset(options), batch_size=3)))
    assert batch['gt'].shape == (3, 3, 64, 64)
    assert apply_batch(batch['gt'], batch['degradation']).shape == (3, 3, 16, 16)
    assert batch['gt_path'] == batch['lq_path']
    assert batch['gt_path'][0].endswith('astronaut.png')


def test_visits_repeat_exactly_and_differ_from_each_other(options, same_items):
    dataset = DegradationDataset(options)
    again = DegradationDataset(options)
    assert same_items(dataset[Visit(2, 1, 4)], again[Visit(2, 1, 4)])
    assert not same_items(dataset[Visit(2, 1, 4)], dataset[Visit(2, 2, 4)])
    assert not same_items(dataset[2], dataset[2])


def test_outside_training_the_middle_of_the_image_comes_unchanged(options, photo_folders, same_items):
    dataset = DegradationDataset({**options, 'phase': 'val'})
    assert same_items(dataset[0], dataset[Visit(0, 5, 9)])
    photo = to_tensor(read_image(photo_folders / 'naturals' / 'astronaut.png'))
    torch.testing.assert_close(dataset[0]['gt'], photo[:, 88:152, 128:192], rtol=0, atol=0)


def test_whole_images_are_cut_to_a_multiple_of_the_scale(options):
    dataset = DegradationDataset({**options, 'gt_size': None, 'phase': 'val'})
    sizes = {tuple(dataset[i]['gt'].shape) for i in range(len(dataset))}
    assert sizes == {(3, 240, 320), (3, 196, 248)}


def test_turns_and_flips_keep_the_pixels_and_all_eight_views_occur(options, tmp_path, astronaut):
    from metaf2n_arch.images.writing import write_image

    write_image(tmp_path / 'a.png', astronaut[:64, 200:264])
    dataset = DegradationDataset({**options, 'dataroot_gt': str(tmp_path)})
    photo = to_tensor(astronaut[:64, 200:264])
    views = [torch.rot90(v, k, (1, 2)) for v in (photo, photo.flip(2)) for k in range(4)]
    counts = np.zeros(8)
    for _ in range(160):
        patch = dataset[0]['gt']
        matches = [i for i, view in enumerate(views) if torch.equal(view, patch)]
        assert len(matches) == 1
        counts[matches[0]] += 1
    assert counts.min() >= 6


def test_lmdb_and_folder_and_meta_info_hold_the_same(options, data_dir, same_items):
    pairs = data_dir / 'pairs_x4'
    base = {**options, 'phase': 'val', 'gt_size': 200}
    folder = DegradationDataset({**base, 'dataroot_gt': str(pairs / 'gt')})
    lmdb = DegradationDataset({**base, 'dataroot_gt': str(pairs / 'gt.lmdb'), 'io_backend': {'type': 'lmdb'}})
    listed = DegradationDataset({**base, 'dataroot_gt': str(pairs), 'meta_info': str(pairs / 'meta_info_pair.txt')})
    for index in range(2):
        items = [dataset[index]['gt'] for dataset in (folder, lmdb, listed)]
        assert same_items(items[0], items[1])
        assert same_items(items[0], items[2])


def test_lmdb_opens_anew_in_every_worker(options, data_dir, same_items):
    options = {**options, 'dataroot_gt': str(data_dir / 'pairs_x4' / 'gt.lmdb'), 'phase': 'val'}
    dataset = DegradationDataset(options)
    alone = [dataset[0], dataset[1]]
    loader = DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context='fork')
    assert same_items(alone, list(loader))


@pytest.mark.parametrize(
    ('change', 'error', 'message'),
    [
        ({'gt_size': 66}, OptionError, 'gt_size 66 is not divisible by scale 4'),
        ({'gt_size': 200}, DataError, r'odd\.jpg \(199x251\) is smaller than 200x200, the gt_size'),
        ({'gtsize': 64}, OptionError, "unknown key. Did you mean 'gt_size'"),
        ({'dataroot_gt': None}, OptionError, r'datasets\.train\.dataroot_gt'),
    ],
)
def test_wrong_options_and_small_images_are_one_clear_line(options, change, error, message):
    with pytest.raises(error, match=message) as caught:
        DegradationDataset({**options, **change})
    assert '\n' not in str(caught.value)


def test_a_missing_root_is_named(options):
    del options['dataroot_gt']
    with pytest.raises(OptionError, match=r'datasets\.train\.dataroot_gt: missing'):
        DegradationDataset(options)


def test_the_hosts_builder_knows_it(options):
    from basicsr.data import build_dataset

    assert isinstance(build_dataset(options), DegradationDataset)


@pytest.mark.parametrize('workers', [0, 1])
def test_an_image_damaged_behind_its_header_stops_training_with_its_name(options, tmp_path, astronaut, workers):
    from metaf2n_arch.images.writing import write_image

    write_image(tmp_path / 'damaged.png', astronaut)
    data = (tmp_path / 'damaged.png').read_bytes()
    (tmp_path / 'damaged.png').write_bytes(data[: len(data) // 2])
    dataset = DegradationDataset({**options, 'dataroot_gt': str(tmp_path)})
    context = 'fork' if workers else None
    with pytest.raises(DataError, match=r'damaged\.png is cut off before its end'):
        list(DataLoader(dataset, num_workers=workers, multiprocessing_context=context))
