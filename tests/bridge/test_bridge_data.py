"""What the host's loaders hand out: visits that depend on the seed alone, and errors that name the file."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from metaf2n_arch.run.sampling import SeededItems, start_at
from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.utils.rng import Visit


def numpy_draw() -> float:
    return np.random.rand()  # noqa: NPY002 - the generator that stock augmentations draw from


class Draws(torch.utils.data.Dataset):
    """Hands out what the global generators give, as stock augmentations use them."""

    def __init__(self, length: int = 10) -> None:
        self.length = length
        self.opt = {'name': 'draws'}

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor([int(index), random.random(), numpy_draw(), torch.rand(()).item()], dtype=torch.float64)


def sampler(length: int = 10, ranks: int = 1, rank: int = 0, ratio: float = 1, seed: int | None = 5, epoch: int = 0):
    from basicsr.data.data_sampler import EnlargedSampler

    made = EnlargedSampler(Draws(length), ranks, rank, ratio)
    if seed is not None:
        made.seed = seed
    made.set_epoch(epoch)
    return made


def loader(workers: int, epoch: int, seed: int = 5, batch: int = 2):
    from basicsr.data import build_dataloader

    data, order = Draws(), sampler(seed=None, epoch=epoch)
    options = {'phase': 'train', 'batch_size_per_gpu': batch, 'num_worker_per_gpu': workers}
    return build_dataloader(data, options, num_gpu=0, sampler=order, seed=seed)


def test_order_without_a_seed_is_the_hosts(original):
    made = sampler(seed=None, epoch=3, ratio=2, ranks=2, rank=1)
    assert list(made) == list(original('basicsr.data.data_sampler.EnlargedSampler.__iter__')(made))
    assert all(isinstance(v, Visit) and v.epoch == 3 for v in made)


def test_order_depends_on_the_seed_and_the_epoch(original):
    orders = [list(map(int, sampler(40, seed=s, epoch=e))) for s in (5, 6) for e in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4
    assert orders[0] == list(map(int, sampler(40, seed=5, epoch=0)))
    assert all(sorted(order) == list(range(40)) for order in orders)
    host = original('basicsr.data.data_sampler.EnlargedSampler.__iter__')
    assert list(host(sampler(40, seed=5))) == list(host(sampler(40, seed=6))), 'the host ignores the seed'


@pytest.mark.parametrize('length', [12, 13])
@pytest.mark.parametrize('ratio', [1, 2.5])
def test_order_is_the_same_for_any_number_of_processes(length, ratio):
    alone = {v.position: int(v) for v in sampler(length, ratio=ratio)}
    assert sorted(alone) == list(range(len(alone)))
    for ranks in (2, 3):
        parts = [list(sampler(length, ranks, rank, ratio)) for rank in range(ranks)]
        assert {len(part) for part in parts} == {-(-len(alone) // ranks)}
        for rank, part in enumerate(parts):
            assert [v.position for v in part] == list(range(rank, ranks * len(part), ranks))
            assert all(alone[v.position % len(alone)] == v for v in part)


def test_an_epoch_can_begin_at_a_position():
    whole = list(sampler(12, 2, 1, epoch=4))
    later = sampler(12, 2, 1, epoch=4)
    start_at(later, 4, 6)
    assert [(v, v.position) for v in later] == [(v, v.position) for v in whole[3:]]
    later.set_epoch(5)
    assert len(list(later)) == 6, 'the epochs after it are whole'


def test_items_depend_on_seed_epoch_and_position_not_on_workers():
    runs = {(w, e): torch.cat(list(loader(w, e))) for w in (0, 1, 2) for e in (0, 1)}
    for epoch in (0, 1):
        for workers in (1, 2):
            assert torch.equal(runs[workers, epoch], runs[0, epoch])
    assert not set(runs[0, 0][:, 1].tolist()) & set(runs[0, 1][:, 1].tolist()), 'another epoch, other draws'
    assert len(set(runs[0, 0][:, 1:].flatten().tolist())) == 30
    assert not torch.equal(torch.cat(list(loader(0, 0, seed=6)))[:, 1], runs[0, 0][:, 1])


def test_the_host_repeats_its_augmentations_every_epoch(original):
    def draws(epoch):
        options = {'phase': 'train', 'batch_size_per_gpu': 2, 'num_worker_per_gpu': 1}
        build = original('basicsr.data.build_dataloader')
        return torch.cat(list(build(Draws(), options, num_gpu=0, sampler=sampler(epoch=epoch), seed=5)))[:, 1:3]

    assert torch.equal(draws(0), draws(1))


def test_reading_items_leaves_the_trainings_own_generators_alone():
    from basicsr.utils import set_random_seed

    items = SeededItems(Draws(), 5)
    set_random_seed(1)
    expected = random.random(), numpy_draw(), torch.rand(()).item()
    set_random_seed(1)
    assert torch.equal(items[Visit(3, 0, 1)], items[Visit(3, 0, 1)])
    assert (random.random(), numpy_draw(), torch.rand(()).item()) == expected


def test_loaders_still_show_the_data_set_behind():
    data = loader(0, 0).dataset
    assert data.opt == {'name': 'draws'}
    assert len(data) == 10
    assert type(data) is Draws, 'not a stand-in: somebody may ask for its class'
    with pytest.raises(AttributeError):
        _ = data.nothing


@pytest.fixture
def pairs(tiny, tmp_path):
    """(options of a data set of pairs, its folder)"""
    return {**tiny['datasets']['val'], 'phase': 'val', 'scale': 4}, tmp_path / 'pairs'


def build(options):
    from basicsr.data import build_dataset

    return build_dataset(options)


@pytest.mark.parametrize('content', [b'', b'not an image', 'truncated'])
def test_a_broken_image_is_named(pairs, content):
    options, folder = pairs
    file = folder / 'lq' / '2.png'
    file.write_bytes(file.read_bytes()[:40] if content == 'truncated' else content)
    data = build(options)
    with pytest.raises(DataError, match=r'not an image that OpenCV can read') as caught:
        list(map(data.__getitem__, range(len(data))))
    assert str(caught.value).startswith(f'{file}: ')


def test_the_host_names_no_file(original, tmp_path):
    with pytest.raises((AttributeError, cv2.error)) as caught:
        original('basicsr.utils.img_util.imfrombytes')(b'not an image', float32=True)
    assert str(tmp_path) not in str(caught.value)


def test_bytes_are_named_also_when_several_files_are_read_first(tmp_path):
    from basicsr.utils import FileClient, imfrombytes

    client = FileClient('disk')
    for name in 'abc':
        (tmp_path / name).write_bytes(b'no image ' + name.encode())
    contents = {name: client.get(str(tmp_path / name)) for name in 'abc'}
    for name in 'bca':
        with pytest.raises(DataError, match=f'/{name}: not an image'):
            imfrombytes(contents[name], float32=True)


def test_images_are_read_as_the_host_reads_them(original, data_dir):
    from basicsr.utils import imfrombytes

    for file in sorted((data_dir / 'odd').glob('*.png')):
        for flag in ('color', 'grayscale', 'unchanged'):
            for float32 in (False, True):
                ours = imfrombytes(file.read_bytes(), flag, float32)
                theirs = original('basicsr.utils.img_util.imfrombytes')(file.read_bytes(), flag, float32)
                assert ours.dtype == theirs.dtype
                assert np.array_equal(ours, theirs), file


def test_files_without_a_partner_are_named(pairs):
    options, folder = pairs
    (folder / 'gt' / 'Thumbs.db').write_bytes(b'')
    with pytest.raises(DataError, match=rf'{folder}/lq has no Thumbs\.db; lq and gt images must come in pairs'):
        build(options)
    (folder / 'gt' / 'Thumbs.db').unlink()
    (folder / 'lq' / '1.png').rename(folder / 'lq' / 'x.png')
    with pytest.raises(DataError, match=r'/gt has no partner of x\.png \(2 such files\)'):
        build(options)


def test_a_pair_that_is_too_small_or_of_another_scale_is_named(pairs, original):
    options, folder = pairs
    options.update(phase='train', gt_size=128, use_hflip=False, use_rot=False)
    with pytest.raises(
        DataError, match=rf'^{folder}/gt/\d\.png: LQ \(16, 16\) is smaller than patch size \(32, 32\); remove'
    ):
        build(options)[0]
    options.update(gt_size=32, scale=2)
    with pytest.raises(DataError, match=rf'^{folder}/gt/\d\.png: Scale mismatches\. GT \(64, 64\) is not 2x'):
        build(options)[0]
    image = np.zeros((64, 64, 3))
    with pytest.raises(ValueError, match='Scale mismatches') as caught:
        original('basicsr.data.transforms.paired_random_crop')(image, image[::4, ::4], 32, 2, 'a.png')
    assert 'a.png' not in str(caught.value)


def test_a_missing_lmdb_key_is_named(data_dir, tmp_path):
    from basicsr.utils import FileClient

    shutil.copytree(data_dir / 'pairs_x4' / 'gt.lmdb', tmp_path / 'gt.lmdb')
    client = FileClient('lmdb', db_paths=[str(tmp_path / 'gt.lmdb')], client_keys=['gt'])
    assert client.get('baboon', 'gt')
    with pytest.raises(DataError, match=r'gt\.lmdb, key nothing: no such key'):
        client.get('nothing', 'gt')


def test_an_lmdb_that_is_cut_off_is_one_line_and_no_bus_error(data_dir, tmp_path):
    """By itself the host dies of SIGBUS, seen with lmdb 1.4 to 2.3."""
    from basicsr.utils import FileClient

    shutil.copytree(data_dir / 'pairs_x4' / 'gt.lmdb', tmp_path / 'gt.lmdb')
    file = tmp_path / 'gt.lmdb' / 'data.mdb'
    whole = file.read_bytes()
    for length in (len(whole) - 1, len(whole) // 2, 8192):
        file.write_bytes(whole[:length])
        with pytest.raises(DataError, match=rf'data\.mdb is cut off: {length} of {len(whole)} bytes are there'):
            FileClient('lmdb', db_paths=str(tmp_path / 'gt.lmdb'), client_keys='gt')
    file.write_bytes(whole)
    assert FileClient('lmdb', db_paths=str(tmp_path / 'gt.lmdb'), client_keys='gt').get('baboon', 'gt')


def test_a_data_set_without_images_is_named(pairs):
    options, folder = pairs
    for side in ('gt', 'lq'):
        shutil.rmtree(folder / side)
        Path(folder / side).mkdir()
    with pytest.raises(DataError, match='data set val: found no images'):
        build(options)


def test_an_error_while_prefetching_arrives_and_nothing_is_read_before_the_first_epoch():
    from basicsr.data.prefetch_dataloader import CPUPrefetcher, PrefetchDataLoader

    class Breaks(Draws):
        reads = 0

        def __getitem__(self, index):
            Breaks.reads += 1
            if index == 3:
                raise DataError('3.png: broken')
            return super().__getitem__(index)

    prefetcher = CPUPrefetcher(PrefetchDataLoader(1, dataset=Breaks(), batch_size=1))
    assert Breaks.reads == 0
    for _ in range(2):
        prefetcher.reset()
        assert [prefetcher.next()[0, 0].item() for _ in range(3)] == [0, 1, 2]
        with pytest.raises(DataError, match=r'3\.png: broken'):
            prefetcher.next()
    whole = CPUPrefetcher(PrefetchDataLoader(2, dataset=Draws(3), batch_size=1))
    assert [whole.next() is not None for _ in range(4)] == [True, True, True, False]


def test_prefetching_without_workers_draws_when_a_plain_loader_does():
    """Else an item's draws would fall between the training's own wherever the thread came to run."""
    from basicsr.data.prefetch_dataloader import CPUPrefetcher, PrefetchDataLoader

    class DrawsGlobally(torch.utils.data.Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return torch.rand(())

    def draws(next_batch) -> list[float]:
        torch.manual_seed(0)
        return [x for _ in range(4) for x in (next_batch().item(), torch.rand(()).item())]

    torch.manual_seed(1)  # starting a pass over a loader draws a seed for its workers as well
    plain = iter(torch.utils.data.DataLoader(DrawsGlobally(), batch_size=1))
    ahead = CPUPrefetcher(PrefetchDataLoader(2, dataset=DrawsGlobally(), batch_size=1))
    ahead.reset()
    assert draws(ahead.next) == draws(lambda: next(plain))
