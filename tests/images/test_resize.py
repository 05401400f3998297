"""Resizing by rows and by strips against resizing at once."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from metaf2n_arch.images.resize import resized_rows, resized_strips


@pytest.mark.parametrize('size', [(512, 512), (60, 77), (301, 200), (640, 90), (1, 3), (100, 128), (255, 256)])
def test_rows_and_strips_are_those_of_the_whole(astronaut_tensor, size):
    image = astronaut_tensor[..., :100, :128]
    wanted = F.interpolate(image, size=size, mode='bicubic', align_corners=False, antialias=True).clamp(0, 1)
    third = size[0] // 3
    rows = [resized_rows(image, size, a, b) for a, b in ((0, third), (third, size[0])) if b > a]
    torch.testing.assert_close(torch.cat(rows, -2), wanted, rtol=0, atol=1e-5)
    for height in (1, 7, 40, 100):
        strips = resized_strips(image.split(height, -2), (100, 128), size)
        torch.testing.assert_close(torch.cat(list(strips), -2), wanted, rtol=0, atol=1e-5)
