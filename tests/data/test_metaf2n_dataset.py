"""Tasks: their content, and draws that depend on the visit and on nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Sampler

from metaf2n_arch.data.metaf2n_dataset import MetaF2NDataset, _choose
from metaf2n_arch.data.patches import draw_box, energy
from metaf2n_arch.degradation import DegradationParams, apply
from metaf2n_arch.images.reading import read_image
from metaf2n_arch.images.writing import write_image
from metaf2n_arch.meta.support import crop
from metaf2n_arch.utils.checks import DataError, OptionError
from metaf2n_arch.utils.rng import Visit


class Epoch(Sampler):
    """Hands out visits in a shuffled order, as our sampler does."""

    def __init__(self, length: int, epoch: int) -> None:
        self.order = np.random.default_rng(epoch).permutation(length).tolist()
        self.epoch = epoch

    def __iter__(self):
        return (Visit(index, self.epoch, position) for position, index in enumerate(self.order))

    def __len__(self) -> int:
        return len(self.order)


def epoch_of(dataset, epoch: int, workers: int = 0, context: str | None = None) -> list:
    loader = DataLoader(
        dataset, 1, sampler=Epoch(len(dataset), epoch), num_workers=workers, multiprocessing_context=context
    )
    return list(loader)


def test_an_item_is_whole_faces_a_patch_position_naturals_and_one_draw(task_options):
    item = MetaF2NDataset(task_options)[Visit(1, 0, 0)]
    assert item['face'].shape == (3, 3, 96, 96)
    assert item['gt'].shape == (2, 3, 64, 64)
    assert item['face'].dtype == item['gt'].dtype == torch.float32
    assert float(item['gt'].min()) >= 0
    assert 0.5 < float(item['gt'].max()) <= 1
    assert item['face_crop'].dtype == torch.int64
    assert (item['face_crop'] % 4 == 0).all()
    assert (item['face_crop'][:, 2:] == 48).all()
    assert (item['face_crop'][:, :2] + 48 <= 96).all()
    params = DegradationParams.from_tensors(item['degradation'])
    assert apply(item['face'], params).shape == (3, 3, 24, 24)
    assert apply(item['gt'], params, 1).shape == (2, 3, 16, 16)


def test_images_are_parts_of_the_files_maybe_mirrored(task_options, photo_folders):
    """Every query patch is found, byte for byte, in the photograph of the item's number."""
    dataset = MetaF2NDataset(task_options)
    for index in range(len(dataset)):
        patch = (dataset[index]['gt'][0] * 255).round().byte().permute(1, 2, 0).numpy()
        photo = read_image(dataset.naturals.path(index))
        windows = np.lib.stride_tricks.sliding_window_view(photo, (64, 64), axis=(0, 1)).transpose(0, 1, 3, 4, 2)
        corners = (windows[:, :, 0, 0] == patch[0, 0]).all(-1) | (windows[:, :, 0, 0] == patch[0, -1]).all(-1)
        found = windows[corners]
        assert any(np.array_equal(w, patch) or np.array_equal(w, patch[:, ::-1]) for w in found)


def test_an_epoch_shows_every_natural_image_first_once(task_options):
    dataset = MetaF2NDataset({**task_options, 'num_naturals': 1})
    assert len(dataset) == 5
    read = []
    dataset.naturals.read = lambda index, read_file=dataset.naturals.read: read.append(index) or read_file(index)
    epoch_of(dataset, 0)
    assert sorted(read) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize('workers', [1, 2])
def test_items_are_the_same_whatever_the_number_of_workers(task_options, same_items, workers):
    dataset = MetaF2NDataset(task_options)
    assert same_items(epoch_of(dataset, 3), epoch_of(dataset, 3, workers, 'fork'))


@pytest.mark.slow
@pytest.mark.parametrize('context', ['spawn', 'forkserver'])
def test_workers_of_every_start_method_give_the_same_items(task_options, same_items, context):
    dataset = MetaF2NDataset({**task_options, 'tasks_per_epoch': 2})
    assert same_items(epoch_of(dataset, 1), epoch_of(dataset, 1, 1, context))


def test_every_epoch_and_every_seed_draws_anew(task_options):
    dataset = MetaF2NDataset(task_options)

    def seeds(some) -> set[int]:
        return {int(item['degradation']['final'].flatten()[3]) for item in some}

    first, second = epoch_of(dataset, 0), epoch_of(dataset, 1)
    other = epoch_of(MetaF2NDataset({**task_options, 'seed': 8}), 0)
    assert len(seeds(first) | seeds(second) | seeds(other)) == 15


def test_plain_numbers_seen_again_differ_too_also_in_workers(task_options, same_items):
    dataset = MetaF2NDataset(task_options)
    assert not same_items(dataset[0], dataset[0])
    loader = DataLoader(dataset, 1, num_workers=1, multiprocessing_context='fork')
    assert not same_items(next(iter(loader)), next(iter(loader)))


def test_outside_training_an_item_is_always_the_same(task_options, same_items):
    dataset = MetaF2NDataset({**task_options, 'phase': 'val'})
    assert same_items(dataset[1], dataset[1])
    assert not same_items(dataset[1], dataset[2])


def test_larger_faces_are_averaged_down(task_options, photo_folders):
    dataset = MetaF2NDataset({**task_options, 'face_size': 48, 'use_hflip': False, 'num_faces': 6})
    item = dataset[0]
    means = sorted(float(face.mean()) for face in item['face'])
    wanted = sorted(read_image(p).mean() / 255 for p in (photo_folders / 'faces').iterdir())
    np.testing.assert_allclose(means, wanted, atol=2e-3)


def test_flat_patches_are_drawn_again_up_to_five_times():
    image = np.full((64, 256, 3), 128, np.uint8)
    image[:, 128:] = np.random.default_rng(0).integers(0, 255, (64, 128, 3), dtype=np.uint8)
    rng = np.random.default_rng(1)
    boxes = [draw_box(image, 32, 4, -6.0, rng) for _ in range(300)]
    flat = np.mean([energy(image[y : y + 32, x : x + 32]) < -6 for y, x, _, _ in boxes])
    blind = np.mean([x + 32 <= 128 for _, x, _, _ in (draw_box(image, 32, 4, None, rng) for _ in range(3000))])
    assert blind == pytest.approx(25 / 57, abs=0.03)
    assert flat <= 0.03  # (25/57)^6 = 0.7 %
    assert draw_box(image[:, :128], 32, 4, -6.0, rng)[2:] == (32, 32)


def test_choices_differ_within_a_task_while_there_are_enough():
    rng = np.random.default_rng(0)
    for _ in range(200):
        drawn = _choose(5, 4, rng, without=2)
        assert sorted(drawn) == [0, 1, 3, 4]
        assert len(set(_choose(100_000, 4, rng))) == 4
    assert _choose(1, 3, rng, without=0) == [0, 0, 0]
    assert set(_choose(2, 5, rng)) <= {0, 1}


def test_crops_of_face_and_low_quality_face_show_the_same_place(task_options):
    item = MetaF2NDataset({**task_options, 'min_gradient_energy': None})[0]
    y, x, h, w = item['face_crop'][0].tolist()
    low = torch.nn.functional.avg_pool2d(item['face'], 4)
    torch.testing.assert_close(
        crop(low, y // 4, x // 4, h // 4, w // 4)[0],
        torch.nn.functional.avg_pool2d(crop(item['face'][0], y, x, h, w), 4),
    )


@pytest.mark.parametrize(
    ('change', 'error', 'message'),
    [
        ({'dataroot_face': '/nowhere'}, DataError, r'datasets\.train\.dataroot_face: /nowhere is missing'),
        ({'query_size': 250}, OptionError, 'query_size 250 is not divisible by scale 4'),
        ({'query_size': 256}, DataError, r'smaller than 256x256, the query_size'),
        ({'face_size': 128, 'support_size': 64}, DataError, r'3 more are smaller than 128x128, the face_size'),
        ({'support_size': 100}, OptionError, 'support_size 100 is larger than face_size 96'),
        ({'nom_faces': 3}, OptionError, r"datasets\.train\.nom_faces: unknown key\. Did you mean 'num_faces'"),
        ({'degradation': {'scale': 2}}, OptionError, r'degradation\.scale is 2 but scale is 4'),
        ({'degradation': {'stage1': {'sigma': [3, 1]}}}, OptionError, r'degradation\.stage1\.sigma'),
        ({'io_backend': {'type': 'lmdb'}}, OptionError, r'expected a folder ending in \.lmdb'),
        ({'io_backend': {'type': 'petrel'}}, OptionError, r'io_backend\.type'),
    ],
)
def test_wrong_options_and_folders_are_one_clear_line(task_options, change, error, message):
    with pytest.raises(error, match=message) as caught:
        MetaF2NDataset({**task_options, **change})
    assert '\n' not in str(caught.value)


def test_a_face_that_is_not_square_is_refused_before_training(task_options, tmp_path, astronaut):
    write_image(tmp_path / 'wide.png', astronaut[:100, :200])
    with pytest.raises(DataError, match=r'wide\.png \(100x200\) is not square, expected aligned faces'):
        MetaF2NDataset({**task_options, 'dataroot_face': str(tmp_path)})


def test_real_faces_from_a_folder_and_naturals_from_lmdb_and_meta_info(task_options, data_dir):
    lmdb = {
        **task_options,
        'dataroot_face': str(data_dir / 'faces_hq'),
        'dataroot_gt': str(data_dir / 'pairs_x4' / 'gt.lmdb'),
        'face_size': 256,
        'support_size': 128,
        'query_size': 128,
    }
    folder = {**lmdb, 'dataroot_gt': str(data_dir / 'pairs_x4' / 'gt')}
    listed = {**folder, 'meta_info_gt': str(data_dir / 'pairs_x4' / 'meta_info_gt.txt')}
    items = [MetaF2NDataset(options)[Visit(0, 2, 5)] for options in (lmdb, folder, listed)]
    for item in items[1:]:
        torch.testing.assert_close(item['gt'], items[0]['gt'], rtol=0, atol=0)
        torch.testing.assert_close(item['face'], items[0]['face'], rtol=0, atol=0)


def test_the_schema_is_open_to_the_option_checker(task_options):
    assert MetaF2NDataset.options_schema.model_validate(task_options).degradation.scale == 4
