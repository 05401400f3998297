"""Augmentations: each against its definition written as a loop, the same place in both images, and exact resuming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from basicsr.models import build_model

from metaf2n_arch.data.augmentations import KINDS, Augmentations
from metaf2n_arch.functional.mixing import draw_box
from metaf2n_arch.utils.checks import DataError, OptionError

SCALE = 4


@pytest.fixture
def pair(astronaut_tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Three windows of a photograph and their area averages: each LQ pixel knows its 4 x 4 pixels of GT."""
    gt = torch.cat([astronaut_tensor[..., y : y + 48, 180:244] for y in (20, 90, 300)])
    return F.avg_pool2d(gt, SCALE), gt


def augmented(name: str, pair, seed: int, **options: Any):
    rng = np.random.default_rng(seed)
    return Augmentations([{'type': name, 'prob': 1.0, **options}])(*pair, rng)


def partners(pair, result, i: int) -> list[tuple[int, torch.Tensor]]:
    """For each other image, where the low-quality result shows it."""
    return [(j, (result[0][i] == pair[0][j]).all(0)) for j in range(len(pair[0])) if j != i]


@pytest.mark.parametrize('seed', range(4))
def test_mixup_is_one_convex_combination_in_both_images(pair, seed) -> None:
    lq, gt = augmented('MixUp', pair, seed)
    fits = []
    for j in (1, 2):  # solve for λ on the truth's first image, and see whether it explains everything
        x, y = pair[1][0] - pair[1][j], gt[0] - pair[1][j]
        share = ((x * y).sum() / x.square().sum()).item()
        explained = [share * one[0] + (1 - share) * one[j] for one in pair]
        right = [torch.allclose(one[0], by, atol=1e-5) for one, by in zip((lq, gt), explained)]
        fits.append((*right, share))
    assert [fit[:2] for fit in fits].count((True, True)) == 1
    assert all(0 <= share <= 1 for *good, share in fits if all(good))


def test_mixup_draws_its_share_from_the_beta_distribution(pair) -> None:
    """Black and white images show λ directly; mean 1/2 and variance 1/(4 (2α + 1)) are Beta(α, α)'s."""
    lq = torch.stack([torch.zeros(3, 2, 2), torch.ones(3, 2, 2)])
    gt = lq.repeat_interleave(2, -1).repeat_interleave(2, -2)
    rng, mix = np.random.default_rng(0), Augmentations([{'type': 'MixUp', 'prob': 1.0, 'alpha': 0.7}])
    shares = np.array([float(mix(lq, gt, rng)[0][1].mean()) for _ in range(2000)])
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.var() == pytest.approx(1 / (4 * 2.4), rel=0.08)


@pytest.mark.parametrize('seed', range(6))
def test_cutmix_pastes_one_box_at_the_same_place_of_both_images(pair, seed) -> None:
    lq, gt = augmented('CutMix', pair, seed)
    torch.testing.assert_close(F.avg_pool2d(gt, SCALE), lq, rtol=0, atol=1e-6)
    for i in range(3):
        own = (lq[i] == pair[0][i]).all(0)
        pasted = ~own
        assert pasted.any()
        rows, columns = pasted.any(1).nonzero()[:, 0], pasted.any(0).nonzero()[:, 0]
        box = pasted[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert box.float().mean() > 0.95, 'a box, but for pixels that both images share'
        assert sum((there | own).all().item() for _, there in partners(pair, (lq, gt), i)) >= 1


def test_cutmix_boxes_cover_a_uniform_share_of_the_area_and_lie_anywhere() -> None:
    lq = torch.stack([torch.zeros(1, 40, 40), torch.ones(1, 40, 40)])
    gt = lq.clone()
    rng, mix = np.random.default_rng(0), Augmentations([{'type': 'CutMix', 'prob': 1.0}])
    masks = torch.stack([mix(lq, gt, rng)[0][0, 0] for _ in range(1000)])
    areas = masks.mean((1, 2))
    assert areas.mean() == pytest.approx(0.5, abs=0.03)
    assert areas.var() == pytest.approx(1 / 12, rel=0.15)
    boxes = [draw_box((5, 7), 0.4, np.random.default_rng(i)) for i in range(300)]
    assert {box.top for box in boxes} == set(range(4))
    assert {box.left for box in boxes} == set(range(5))
    assert {box[2:] for box in boxes} == {(2, 3)}


@pytest.mark.parametrize('seed', range(6))
def test_cutblur_shows_the_shrunk_truth_inside_or_outside_one_box_and_leaves_the_truth(pair, seed) -> None:
    noisy = (pair[0] + 0.1).clamp(0, 1), pair[1]
    lq, gt = augmented('CutBlur', noisy, seed)
    assert torch.equal(gt, pair[1])
    good = F.interpolate(pair[1], size=lq.shape[-2:], mode='bicubic', antialias=True).clamp(0, 1)
    inside = (lq == good).all(1)
    assert torch.equal(inside, inside[:1].expand_as(inside))
    assert torch.equal(torch.where(inside[:, None], good, noisy[0]), lq)
    share = inside[0].float().mean().item()
    assert 0.2 < share < 0.85


def test_cutblur_turns_its_box_inside_out_half_of_the_time(pair) -> None:
    noisy = (pair[0] + 0.1).clamp(0, 1), pair[1]
    corners = [augmented('CutBlur', noisy, seed, side=[0.5, 0.5])[0][0, :, 0, 0] for seed in range(200)]
    good = F.interpolate(pair[1], size=pair[0].shape[-2:], mode='bicubic', antialias=True).clamp(0, 1)[0, :, 0, 0]
    # A box of half the sides holds the corner in 1 of 7 x 9 places, and all else in the others.
    share = np.mean([torch.equal(corner, good) for corner in corners])
    assert 0.4 < share < 0.6


@pytest.mark.parametrize('seed', range(4))
def test_resizemix_pastes_another_whole_pair_shrunk_into_the_same_place(pair, seed) -> None:
    lq, gt = augmented('ResizeMix', pair, seed, side=[0.5, 0.5])
    height, width = 6, 8
    changed = (gt != pair[1]).any(1)
    y, x = (int(changed[0].any(axis).nonzero()[0, 0]) for axis in (1, 0))
    assert y % SCALE == x % SCALE == 0
    shrunk = [
        F.interpolate(one, size=size, mode='bicubic', antialias=True).clamp(0, 1)
        for one, size in zip(pair, ((height, width), (height * SCALE, width * SCALE)))
    ]
    found = []
    for j in (1, 2):
        expected = [one[0].clone() for one in pair]
        expected[0][:, y // SCALE : y // SCALE + height, x // SCALE : x // SCALE + width] = shrunk[0][j]
        expected[1][:, y : y + height * SCALE, x : x + width * SCALE] = shrunk[1][j]
        found.append(torch.equal(lq[0], expected[0]) and torch.equal(gt[0], expected[1]))
    assert found.count(True) == 1


def test_each_kind_gets_its_share_of_the_batches(pair) -> None:
    entries = [{'type': 'CutBlur', 'prob': 0.3}, {'type': 'MixUp', 'prob': 0.2}]
    rng, mix = np.random.default_rng(0), Augmentations(entries)
    kinds = []
    for _ in range(1500):
        lq, gt = mix(*pair, rng)
        kinds.append('none' if lq is pair[0] else 'blur' if gt is pair[1] else 'mix')
    shares = [kinds.count(kind) / 1500 for kind in ('blur', 'mix', 'none')]
    np.testing.assert_allclose(shares, [0.3, 0.2, 0.5], atol=0.04)


@pytest.mark.parametrize('name', sorted(KINDS))
def test_a_batch_of_one_image_and_extreme_boxes_work(pair, name) -> None:
    single = pair[0][:1], pair[1][:1]
    for seed in range(20):
        lq, gt = augmented(name, single, seed)
        assert lq.shape == single[0].shape
        assert gt.shape == single[1].shape
        if name in ('MixUp', 'CutMix'):
            torch.testing.assert_close(gt, single[1])
    if name in ('CutBlur', 'ResizeMix'):
        for side in ([0.0, 0.0], [1.0, 1.0]):
            assert augmented(name, pair, 0, side=side)[0].isfinite().all()


@pytest.mark.parametrize(
    ('entries', 'message'),
    [
        ([{'type': 'CutMx', 'prob': 0.5}], r"train.augmentations.0.type is 'CutMx'.*Did you mean 'CutMix'"),
        (
            [{'type': 'CutMix', 'prob': 0.5, 'alfa': 1}],
            r"augmentations.0.alfa: unknown key. Did you mean 'alpha'",
        ),
        ([{'type': 'CutMix'}], r'train.augmentations.0.prob: missing'),
        (['CutMix'], 'expected a mapping with a `type`'),
        ([{'type': 'CutMix', 'prob': 0.6}, {'type': 'MixUp', 'prob': 0.6}], 'sum to 1.2, expected 1 at most'),
        ([{'type': 'CutBlur', 'prob': 1, 'side': [0.9, 0.5]}], r'side is \[0.9, 0.5\], expected a range'),
    ],
)
def test_wrong_lists_are_one_clear_line(entries, message) -> None:
    with pytest.raises(OptionError, match=message):
        Augmentations(entries)


def model(folder: Path, **train: Any) -> Any:
    torch.manual_seed(0)
    network = {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 2, 'upscale': SCALE, 'act_type': 'prelu'}
    options = {'total_iter': 10, 'optim_g': {'type': 'SGD', 'lr': 0.1}, 'losses': [{'type': 'L1Loss'}], **train}
    return build_model(
        {
            'name': 'mixed', 'model_type': 'GANSRModel', 'scale': SCALE, 'num_gpu': 0, 'dist': False, 'rank': 0,
            'world_size': 1, 'is_train': True, 'manual_seed': 7, 'path': {'models': str(folder)},
            'network_g': network, 'logger': {'print_freq': 2},
            'train': {**options, 'scheduler': {'type': 'MultiStepLR', 'milestones': [100]}},
        }
    )  # fmt: skip


LIST = [{'type': 'CutMix', 'prob': 0.4}, {'type': 'MixUp', 'prob': 0.3}, {'type': 'CutBlur', 'prob': 0.3}]


def seen_at(trained: Any, pair, iteration: int) -> tuple[torch.Tensor, torch.Tensor]:
    trained.feed_data({'lq': pair[0], 'gt': pair[1]})
    trained.optimize_parameters(iteration)
    return trained.lq, trained.gt


def test_a_resumed_training_draws_what_the_uninterrupted_one_does(pair, tmp_path) -> None:
    """An iteration's draw depends on nothing before it, whatever else has used random numbers meanwhile."""
    whole = model(tmp_path, augmentations=LIST)
    expected = [seen_at(whole, pair, iteration) for iteration in range(1, 7)]
    assert len({batch[0][0].sum().item() for batch in expected}) == 6
    torch.rand(5)
    resumed = model(tmp_path, augmentations=LIST)
    for iteration in range(4, 7):
        for ours, oracle in zip(seen_at(resumed, pair, iteration), expected[iteration - 1]):
            assert torch.equal(ours, oracle)
    resumed.opt['rank'] = 1
    assert not torch.equal(seen_at(resumed, pair, 5)[0], expected[4][0])


def test_training_without_the_list_sees_the_batch_itself(pair, tmp_path) -> None:
    lq, gt = seen_at(model(tmp_path), pair, 1)
    assert torch.equal(lq, pair[0])
    assert torch.equal(gt, pair[1])


def test_masks_made_beforehand_are_refused_beside_mixed_images(pair, tmp_path) -> None:
    with pytest.raises(DataError, match='masks of the data set'):
        model(tmp_path, augmentations=LIST).feed_data({'lq': pair[0], 'gt': pair[1], 'mask': pair[1][:, :1]})
