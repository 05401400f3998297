"""Patches come from where they say, pairs stay registered, and the inner loss is its equation."""

import numpy as np
import pytest
import torch

from metaf2n_arch.meta.support import random_patches, weighted_l1


def registered_pair(height: int, width: int, scale: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """A pair in which every low-quality pixel holds its own position, and the other is its exact enlargement."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
    lq = torch.stack([rows, columns, rows * 0]).float()
    return lq, lq.repeat_interleave(scale, 1).repeat_interleave(scale, 2)


def test_patches_of_both_sides_show_the_same_place():
    lq, hq = random_patches([registered_pair(20, 30), registered_pair(16, 16)], 5, 8, np.random.default_rng(0))
    assert lq.shape == (10, 3, 8, 8)
    assert hq.shape == (10, 3, 32, 32)
    torch.testing.assert_close(lq.repeat_interleave(4, 2).repeat_interleave(4, 3), hq)
    assert len({tuple(patch[:, 0, 0].tolist()) for patch in lq}) > 5  # and at different places


def test_every_position_can_be_drawn():
    lq, _ = random_patches([registered_pair(5, 4)], 200, 4, np.random.default_rng(0))
    assert set(lq[:, 0, 0, 0].int().tolist()) == {0, 1}
    assert set(lq[:, 1, 0, 0].int().tolist()) == {0}


def test_small_faces_are_left_out_while_there_is_a_larger_one():
    lq, _ = random_patches([registered_pair(7, 40), registered_pair(8, 8)], 3, 8, np.random.default_rng(0))
    assert lq.shape[0] == 3


def test_a_small_face_that_is_alone_is_used_whole():
    small, smaller = registered_pair(7, 9), registered_pair(3, 9)
    lq, hq = random_patches([smaller, small], 3, 8, np.random.default_rng(0))
    torch.testing.assert_close(lq[0], small[0])
    torch.testing.assert_close(hq[0], small[1])


def test_without_faces_there_are_no_patches():
    assert random_patches([], 3, 8, np.random.default_rng(0)) is None


def test_the_inner_loss_is_the_mean_of_confidence_times_distance():
    torch.manual_seed(0)
    lq, hq, confidence = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4), torch.rand(2, 1, 4, 4)
    loss = weighted_l1(lambda theta, x: theta['w'] * x, lambda phi, x, y: phi['c'] * confidence, lq, hq)
    value = loss({'w': torch.tensor(0.7)}, {'c': torch.tensor(2.0)}).item()
    total = 0.0
    for n in range(2):
        for c in range(3):
            for y in range(4):
                for x in range(4):
                    total += 2 * confidence[n, 0, y, x] * abs(hq[n, c, y, x] - 0.7 * lq[n, c, y, x])
    assert value == pytest.approx(float(total) / (2 * 3 * 4 * 4), rel=1e-5)
