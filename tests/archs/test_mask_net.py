"""MaskNet: its layers, its start values, and both grids it can enlarge on."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from metaf2n_arch.archs.mask_net_arch import MaskNet, enlarge


def faces(image: Tensor) -> tuple[Tensor, Tensor]:
    """A low-quality face and the face itself, cut from the photograph."""
    high = image[..., 30:158, 160:288]
    return F.interpolate(high, scale_factor=0.25, mode='area'), high


def test_parameters_have_the_names_and_shapes_of_the_published_network() -> None:
    shapes = {name: tuple(p.shape) for name, p in MaskNet().named_parameters()}
    assert list(shapes) == [f'conv{i}.{kind}' for i in range(1, 9) for kind in ('weight', 'bias')]
    assert shapes['conv1.weight'] == (64, 6, 3, 3)
    assert all(shapes[f'conv{i}.weight'] == (64, 64, 3, 3) for i in range(2, 8))
    assert shapes['conv8.weight'] == (1, 64, 3, 3)


def test_output_is_the_equation_layer_by_layer(astronaut_tensor: Tensor) -> None:
    torch.manual_seed(0)
    net, (low, high) = MaskNet(bias_last=0.5), faces(astronaut_tensor)
    x = torch.cat([F.interpolate(low, size=(128, 128), mode='bicubic', align_corners=False), high], 1)
    for i in range(1, 9):
        conv = getattr(net, f'conv{i}')
        x = F.conv2d(x, conv.weight, conv.bias, padding=1).clamp(min=0)
    torch.testing.assert_close(net(low, high), x)
    assert net(low, high).shape == (1, 1, 128, 128)


def test_a_face_of_full_size_is_taken_as_it_is(astronaut_tensor: Tensor) -> None:
    net, (low, high) = MaskNet(bias_last=1.0), faces(astronaut_tensor)
    large = F.interpolate(low, size=(128, 128), mode='bicubic', align_corners=False)
    torch.testing.assert_close(net(large, high), net(low, high))


@pytest.mark.parametrize('grid', ['half_pixel', 'authors'])
@pytest.mark.parametrize(('length', 'wanted'), [(8, 32), (5, 15), (1, 4)])
def test_enlarging_equals_keys_cubic_written_as_a_loop(grid: str, length: int, wanted: int) -> None:
    def kernel(x: float, a: float = -0.75) -> float:
        x = abs(x)
        if x <= 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0

    def matrix() -> Tensor:
        rows = torch.zeros(wanted, length, dtype=torch.float64)
        for d in range(wanted):
            position = d * length / wanted if grid == 'authors' else (d + 0.5) * length / wanted - 0.5
            first = math.floor(position) - 1
            for tap in range(first, first + 4):
                rows[d, min(max(tap, 0), length - 1)] += kernel(position - tap)
        return rows

    image = torch.rand(2, 3, length, length, dtype=torch.float64)
    m = matrix()
    torch.testing.assert_close(enlarge(image, (wanted, wanted), grid), m @ image @ m.T, rtol=1e-9, atol=1e-9)


def test_the_grids_differ_by_one_and_a_half_output_pixels(astronaut_tensor: Tensor) -> None:
    low = faces(astronaut_tensor)[0]
    fine = F.interpolate(low, scale_factor=8, mode='bicubic', align_corners=False)
    shifted = fine[..., 3:, 3:][..., ::2, ::2][..., 8:96, 8:96]
    # half_pixel output d reads (d + 1/2)/4 - 1/2, so its value at d + 1.5 is what authors' output d reads
    torch.testing.assert_close(enlarge(low, (128, 128), 'authors')[..., 8:96, 8:96], shifted, rtol=0, atol=0.06)


def test_weights_start_with_variance_one_over_fan_in_and_are_truncated() -> None:
    torch.manual_seed(1)
    for name, parameter in MaskNet().named_parameters():
        if name.endswith('bias'):
            assert not parameter.any()
            continue
        fan_in = parameter[0].numel()
        bound = 2 / math.sqrt(fan_in) / 0.8796
        assert parameter.abs().max() <= bound * 1.001
        if parameter.numel() > 3000:
            assert parameter.var().item() * fan_in == pytest.approx(1, rel=0.05)


def test_the_papers_start_is_near_zero_and_half_dead_and_bias_last_mends_it(astronaut_tensor: Tensor) -> None:
    low, high = faces(astronaut_tensor)
    mostly_dead, means = 0, []
    for seed in range(24):
        torch.manual_seed(seed)
        confidence = MaskNet()(low, high)
        assert confidence.min() >= 0
        mostly_dead += (confidence == 0).float().mean().item() > 0.5
        means.append(confidence.mean().item())
        torch.manual_seed(seed)
        mended = MaskNet(bias_last=1.0)(low, high)
        assert mended.min() > 0
        assert mended.mean().item() == pytest.approx(1, abs=0.3)
    assert 6 <= mostly_dead <= 18
    assert sum(means) / len(means) < 0.06


def test_it_is_built_by_its_name_in_an_option_file() -> None:
    from basicsr.archs import build_network

    net = build_network({'type': 'MaskNet', 'num_feat': 8, 'num_conv': 3, 'upsample': 'authors'})
    assert sum(p.numel() for p in net.parameters()) == 6 * 8 * 9 + 8 + 8 * 8 * 9 + 8 + 8 * 9 + 1


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="'half_pixel'"):
        MaskNet(upsample='half_pixels')
    with pytest.raises(ValueError, match='face_lq has shape'):
        MaskNet()(torch.rand(3, 8, 8), torch.rand(1, 3, 32, 32))
