"""The row of pictures for tensorboard: which panels, in which order, at which size."""

from __future__ import annotations

import torch

from metaf2n_arch.models.image_grid import GAP, image_grid


def test_panels_stand_in_order_at_the_height_of_the_result(astronaut_tensor):
    gt = astronaut_tensor[:, :, 60:124, 170:234]
    visuals = {
        'result': gt * 0.5,
        'lq': gt[:, :, ::4, ::4],
        'gt': gt,
        'confidence': 3 * gt[:, :1, :32, :32],
        'unadapted': gt * 0.25,
    }
    row = image_grid(visuals)
    assert row.shape == (3, 64, 5 * 64 + 4 * GAP)
    panels = [row[:, :, i * (64 + GAP) : i * (64 + GAP) + 64] for i in range(5)]
    assert torch.equal(panels[0], gt[0, :, ::4, ::4].repeat_interleave(4, 1).repeat_interleave(4, 2))
    for panel, expected in zip(panels[1:4], (gt * 0.25, gt * 0.5, gt)):
        assert torch.equal(panel, expected[0])
    assert panels[4].max() == 1, 'the largest confidence is white'
    assert torch.equal(panels[4][0], panels[4][2])
    assert (row[:, :, 64 : 64 + GAP] == 1).all()


def test_what_is_not_there_is_left_out_and_large_pictures_shrink():
    row = image_grid({'result': torch.full((1, 3, 1024, 512), 0.5)})
    assert row.shape == (3, 512, 256)
    assert (row == 0.5).all()
