"""Tiled restoration against the whole image at once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from metaf2n_arch.images.tiles import _windows, run_tiled
from metaf2n_arch.utils.checks import OptionError

SCALE = 2


def network(radius: int) -> nn.Module:
    """Enlarges by 2 and looks exactly `radius` pixels round each one."""
    torch.manual_seed(radius)
    layers = [layer for _ in range(radius) for layer in (nn.Conv2d(8, 8, 3, padding=1), nn.LeakyReLU(0.2))]
    net = nn.Sequential(nn.Conv2d(3, 8, 1), *layers, nn.Conv2d(8, 12, 1), nn.PixelShuffle(SCALE)).requires_grad_(False)
    for layer in net:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, a=0.2)
    levels = net(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    net[-2].weight /= levels.std() * 4
    return net


@pytest.mark.parametrize('size', [(150, 97), (64, 200), (49, 48), (111, 30)])
def test_tiles_give_the_whole_image_where_the_network_looks_no_further_than_the_overlap(astronaut_tensor, size):
    image, net = astronaut_tensor[..., : size[0], : size[1]], network(radius=6)
    tiled = run_tiled(net, image, scale=SCALE, tile=48, overlap=6)
    assert (tiled - net(image)).abs().max() < 1 / 255 / 100


def test_a_network_that_looks_further_shows_no_seam(astronaut_tensor):
    """No step between neighbouring pixels is larger than in the whole image by more than a grey level."""
    image, net = astronaut_tensor[..., :150, :120], network(radius=12)
    tiled, whole = run_tiled(net, image, scale=SCALE, tile=48, overlap=6), net(image)
    for axis in (-1, -2):
        assert (tiled.diff(dim=axis) - whole.diff(dim=axis)).abs().max() < 1 / 255


def test_tiles_of_a_network_that_looks_further_than_the_overlap_do_differ(astronaut_tensor):
    """The two tests above would pass a function that never cuts anything."""
    image, net = astronaut_tensor[..., :150, :120], network(radius=12)
    assert (run_tiled(net, image, scale=SCALE, tile=48, overlap=0) - net(image)).abs().max() > 10 / 255


@pytest.mark.parametrize('length', [1, 48, 49, 60, 97, 500])
def test_the_weights_sum_to_one_and_are_zero_within_the_overlap_of_inner_borders(length):
    total, overlap = torch.zeros(length * SCALE), 6
    windows = _windows(length, 48, overlap, SCALE)
    for start, weight in windows:
        total[start * SCALE :][: len(weight)] += weight
        if start > 0:
            assert weight[: overlap * SCALE].max() == 0
        assert len(weight) <= 48 * SCALE
        if start * SCALE + len(weight) < length * SCALE:
            assert weight[-overlap * SCALE :].max() == 0
    assert torch.allclose(total, torch.ones(length * SCALE))


@pytest.mark.parametrize(('tile', 'overlap'), [(512, 24), (256, 24), (48, 6), (40, 4)])
def test_tiles_are_as_few_as_possible_and_no_larger_than_that_number_needs(tile, overlap):
    shared = 2 * overlap + max(1, overlap // 2)
    for length in range(1, 4 * tile, 7):
        sides = [len(weight) for _, weight in _windows(length, tile, overlap, 1)]
        fewest = next(count for count in range(1, 99) if count * tile - (count - 1) * shared >= length)
        assert len(sides) == fewest
        assert sum(sides) < length + (fewest - 1) * shared + 16 * fewest + (fewest > 1)


def test_no_tile_is_larger_than_asked(astronaut_tensor):
    seen = []

    def enlarge(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.shape[-2:])
        return x.repeat_interleave(SCALE, -1).repeat_interleave(SCALE, -2)

    image = astronaut_tensor[..., :130, :90]
    assert torch.allclose(run_tiled(enlarge, image, scale=SCALE, tile=40, overlap=4), enlarge(image))
    assert len(seen) > 5
    assert {tuple(shape) for shape in seen[:-1]} == {(40, 40)}


def test_a_tile_smaller_than_its_surroundings_is_refused():
    with pytest.raises(OptionError, match='tile is 16, expected at least'):
        run_tiled(lambda x: x, torch.rand(1, 3, 64, 64), scale=1, tile=16, overlap=16)
