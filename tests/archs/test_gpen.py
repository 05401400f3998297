"""GPEN against the authors' program, plain loops, and the names and shapes of the official checkpoints."""

from __future__ import annotations

import json
import math
import zlib

import pytest
import torch
import torch.nn.functional as F

from metaf2n_arch.archs.gpen_arch import GPEN, Fir, ModulatedConv
from metaf2n_arch.utils.checks import OptionError

PUBLISHED = {'gpen_bfr_256': (256, 1, 0.5), 'gpen_bfr_512': (512, 2, 1.0)}


def fill(network: torch.nn.Module) -> torch.nn.Module:
    """Fills every tensor but the low-pass kernels with numbers that depend on its key alone."""
    state = network.state_dict()
    for key, value in state.items():
        if key.endswith('kernel'):
            continue
        draw = torch.randn(value.shape, generator=torch.Generator().manual_seed(zlib.crc32(key.encode())))
        if key.endswith('bias'):
            draw = 0.1 * draw + ('modulation' in key)
        if '.style.' in key and key.endswith('weight'):
            draw = 100 * draw
        state[key] = draw
    network.load_state_dict(state)
    return network.eval()


def faces(size: int) -> torch.Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(21)) * 2 - 1


# Numbers produced by running the authors' program (github.com/yangxy/GPEN, commit 2c73670, CPU, float32, torch 2.15)
# with the weights and inputs above: mean, standard deviation, L2 norm, output[0, 0, 0, :3],
# output[1, :, size // 2, size // 3].
GOLDEN = {
    (32, 2, 0.125): (0.614053, 0.807771, 79.529449, [0.21843, -0.10364, 0.24729], [0.40569, 0.41323, 1.50323]),
    (64, 2, 0.25): (-0.201746, 1.09785, 174.985392, [0.05239, 0.36522, 0.13896], [-0.23522, 0.20886, -1.86472]),
    (256, 1, 0.5): (0.261832, 1.023872, 662.699185, [-0.07466, -0.10968, 0.66513], [-0.25717, -1.24299, 2.31721]),
}


@pytest.mark.parametrize(('size', 'channel_multiplier', 'narrow'), list(GOLDEN))
def test_the_output_equals_that_of_the_authors_program(size, channel_multiplier, narrow):
    mean, std, norm, corner, inside = GOLDEN[size, channel_multiplier, narrow]
    with torch.no_grad():
        output = fill(GPEN(size, channel_multiplier, narrow))(faces(size)).double()
    assert output.mean().item() == pytest.approx(mean, abs=2e-5)
    assert output.std().item() == pytest.approx(std, rel=2e-5)
    assert output.norm().item() == pytest.approx(norm, rel=2e-5)
    assert output[0, 0, 0, :3].tolist() == pytest.approx(corner, abs=5e-5)
    assert output[1, :, size // 2, size // 3].tolist() == pytest.approx(inside, abs=5e-5)


@pytest.mark.parametrize('name', list(PUBLISHED))
def test_names_and_shapes_are_those_of_the_official_checkpoint(data_dir, name):
    path = data_dir.parent / 'facts' / 'gpen_state_dict.json'
    if not path.is_file():
        pytest.skip(f'the list of keys and shapes was not found at {path}')
    official = {key: tuple(shape) for key, shape in json.loads(path.read_text())[name].items()}
    with torch.device('meta'):
        ours = {key: tuple(value.shape) for key, value in GPEN(*PUBLISHED[name]).state_dict().items()}
    assert ours == official


def test_a_face_is_restored_alike_alone_and_in_a_batch():
    network = fill(GPEN(32, 2, 0.125))
    x = faces(32)
    with torch.no_grad():
        together, alone = network(x), torch.cat([network(x[:1]), network(x[1:])])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('up', [False, True])
@pytest.mark.parametrize('demodulate', [False, True])
@pytest.mark.parametrize('way', ['_one_by_one', '_together'])
def test_images_are_convolved_with_weights_of_their_own(up, demodulate, way, monkeypatch):
    monkeypatch.setattr(ModulatedConv, '_one_by_one', getattr(ModulatedConv, way))
    torch.manual_seed(0)
    layer = ModulatedConv(5, 7, 3, demodulate=demodulate, up=up)
    x, style, bias = torch.randn(2, 5, 9, 12), torch.randn(2, 512), torch.randn(7)  # more numbers than weights
    expected = []
    for image, scale in zip(x, layer.modulation(style)):
        weight = layer.weight[0] / math.sqrt(5 * 9) * scale.view(1, -1, 1, 1)
        if demodulate:
            weight = weight / (weight.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if up:
            expected.append(layer.blur(F.conv_transpose2d(image[None], weight.transpose(0, 1), stride=2)))
        else:
            expected.append(F.conv2d(image[None], weight, padding=1))
    torch.testing.assert_close(layer(x, style), torch.cat(expected), rtol=1e-5, atol=1e-5)
    biased = 3 * torch.cat(expected) + bias[:, None, None]
    torch.testing.assert_close(layer(x, style, bias, 3.0), biased, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(('pad', 'gain', 'up'), [((2, 2), 1.0, 1), ((1, 1), 4.0, 1), ((2, 1), 4.0, 2)])
def test_the_low_pass_filter_equals_a_convolution_of_scipy(pad, gain, up):
    signal = pytest.importorskip('scipy.signal')
    layer = Fir(pad, gain=gain, up=up)
    # A kernel without symmetry tells a convolution from a correlation.
    layer.kernel.copy_(torch.rand(4, 4, generator=torch.Generator().manual_seed(1)))
    x = torch.rand(1, 2, 5, 7, generator=torch.Generator().manual_seed(2))
    stuffed = torch.zeros(2, 5 * up, 7 * up)
    stuffed[:, ::up, ::up] = x[0]
    padded = F.pad(stuffed, (*pad, *pad))
    expected = [torch.from_numpy(signal.convolve2d(c.numpy(), layer.kernel.numpy(), mode='valid')) for c in padded]
    torch.testing.assert_close(layer(x)[0], torch.stack(expected), rtol=1e-5, atol=1e-6)


def test_enlarging_keeps_the_level_of_a_flat_image():
    flat = torch.full((1, 1, 6, 6), 0.3)
    enlarged = Fir((2, 1), gain=4.0, up=2)(flat)
    assert enlarged.shape == (1, 1, 12, 12)
    torch.testing.assert_close(enlarged[:, :, 2:-2, 2:-2], torch.full((1, 1, 8, 8), 0.3))


def test_gradients_reach_every_parameter():
    network = fill(GPEN(16, 1, 0.0625))
    network(faces(16)).square().mean().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


def test_it_is_registered_with_basicsr_and_built_from_options():
    from basicsr.archs import build_network

    network = build_network({'type': 'GPEN', 'size': 16, 'channel_multiplier': 1, 'narrow': 0.0625})
    assert isinstance(network, GPEN)


@pytest.mark.parametrize('size', [0, 4, 300])
def test_a_size_that_is_no_power_of_two_is_refused(size):
    with pytest.raises(OptionError, match='power of two'):
        GPEN(size)


def test_a_width_without_channels_is_refused():
    with pytest.raises(OptionError, match='no channel'):
        GPEN(1024, 1, 0.01)


def test_faces_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r'expected \(B, 3, 16, 16\)'):
        GPEN(16, 1, 0.0625)(torch.zeros(1, 3, 32, 32))


@pytest.mark.gpu
def test_a_gpu_gives_the_same_faces():
    network, x = fill(GPEN(64, 2, 0.25)), faces(64)
    with torch.no_grad():
        expected = network(x)
        output = network.cuda()(x.cuda()).cpu()
    assert (output - expected).abs().max() < 2e-2 * expected.abs().max()
