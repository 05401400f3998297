"""Generators in ncnn: their output against that of the same network in torch, and what they refuse."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from metaf2n_arch import MetaF2N
from metaf2n_arch.archs.published_networks import RRDB, Compact
from metaf2n_arch.inference import RestoreOptions
from metaf2n_arch.inference.networks import SharedNetworks
from metaf2n_arch.photos.memory import is_lack_of_memory
from metaf2n_arch.utils.checks import OptionError
from metaf2n_arch.weights.loading import AnySize, Generator, build_registered

ncnn = pytest.importorskip('ncnn')
from metaf2n_arch.inference.ncnn_network import FirstPart, NcnnNetwork  # noqa: E402  (needs ncnn)


def random_rrdb(scale: int) -> nn.Module:
    net = RRDB(scale, features=16, blocks=2, growth=8)
    return net if scale == 4 else AnySize(net, scale, 4 // scale)


def basicsr(kind: str, **sizes: int) -> nn.Module:
    return build_registered({'type': kind, 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 16, **sizes})


NETWORKS = {
    'RRDB x4': lambda: random_rrdb(4),
    'RRDB x2': lambda: random_rrdb(2),
    'RRDB x1': lambda: random_rrdb(1),
    'Compact x4': lambda: Compact(4, features=16, convolutions=3),
    'Compact x2': lambda: Compact(2, features=12, convolutions=2),
    "BasicSR's RRDBNet": lambda: basicsr('RRDBNet', num_block=2),
    "BasicSR's SRVGGNetCompact": lambda: basicsr('SRVGGNetCompact', num_conv=3),
}


@pytest.fixture(params=NETWORKS)
def net(request) -> nn.Module:
    torch.manual_seed(0)
    made = NETWORKS[request.param]()
    for tensor in made.parameters():  # initial values of BasicSR are a tenth, which would hide most of the network
        nn.init.uniform_(tensor, -0.1, 0.2) if tensor.ndim == 1 else nn.init.kaiming_normal_(tensor)
    return made.requires_grad_(False).eval()


@pytest.fixture
def photo(astronaut_tensor) -> torch.Tensor:
    return astronaut_tensor[..., 60:107, 170:233]


def changed(net: nn.Module) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {n: p + 0.1 * torch.randn(p.shape, generator=generator) * p.abs() for n, p in net.named_parameters()}


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_the_output_is_that_of_torch(net, photo):
    close(NcnnNetwork(net, {})(photo), net(photo))


def test_given_weights_are_used_and_those_of_the_network_stay(net, photo):
    before, params = net(photo), changed(net)
    expected = functional_call(net, params, (photo,))
    assert (expected - before).abs().max() > 0.01 * before.abs().max()
    close(NcnnNetwork(net, params)(photo), expected)
    torch.testing.assert_close(net(photo), before, rtol=0, atol=0)


def test_threads_share_a_network(photo):
    torch.manual_seed(0)
    network = NcnnNetwork(Compact(2, features=12, convolutions=2), {})
    sizes = [(20 + 3 * i, 40 - 2 * i) for i in range(8)]
    alone = [network(photo[..., :h, :w]) for h, w in sizes]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda size: network(photo[..., : size[0], : size[1]]), sizes))
    for one, other in zip(alone, together):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize('large', [0, 10**9])
def test_memory_is_given_back_in_large_networks_and_the_output_stays(photo, monkeypatch, large):
    monkeypatch.setattr('metaf2n_arch.inference.ncnn_network.LARGE', large)
    torch.manual_seed(0)
    net = Compact(2, features=12, convolutions=2).requires_grad_(False).eval()
    network, cleared = NcnnNetwork(net, {}), []
    pools = network._memory
    network._memory = [SimpleNamespace(clear=lambda pool=pool: cleared.append(pool.clear())) for pool in pools]
    for _ in range(2):
        close(network(photo), net(photo))
    assert len(cleared) == (4 if large == 0 else 0)


def test_all_up_to_the_first_enlargement_is_in_ncnn_and_nothing_else():
    net = RRDB(4, features=16, blocks=2, growth=8)
    part = FirstPart(net, dict(net.named_parameters()))
    assert part.layers.count('Convolution ') == 2 * 3 * 5 + 2
    after = {name.partition('.')[0] for name, _ in part.rest.named_parameters()}
    assert after == {'conv_up1', 'conv_up2', 'conv_hr', 'conv_last'}
    weights = sum(p.numel() for n, p in net.named_parameters() if n.partition('.')[0] not in after)
    assert len(part.weights) == 4 * (weights + 32)  # and one mark for each convolution


class Branching(nn.Module):
    """Grouped and strided convolutions are not translated, so that both sides of a sum come back to torch."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.left = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, (3, 5), padding=(1, 2), bias=False)
        self.grouped, self.last = nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.Conv2d(8, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.leaky_relu(self.first(x), 0.2)
        left = torch.cat([self.left(x), 2 * x], 1)[:, :8]
        return self.last(self.grouped(x) + left) + x[:, :3] * 0.5


def test_what_is_not_translated_stays_in_torch(photo):
    torch.manual_seed(0)
    net = Branching().requires_grad_(False).eval()
    close(NcnnNetwork(net, {})(photo), net(photo))


def hooked(conv: nn.Conv2d) -> nn.Module:
    conv.register_forward_pre_hook(lambda module, inputs: (2 * inputs[0],))
    return conv


class Doubling(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(2 * x)


@pytest.mark.parametrize('change', ['hook', 'subclass', 'old norm', 'parametrisation'])
def test_a_convolution_that_does_more_than_convolve_stays_in_torch(photo, change):
    torch.manual_seed(0)
    middle = Doubling(8, 8, 3, padding=1) if change == 'subclass' else nn.Conv2d(8, 8, 3, padding=1)
    if change == 'hook':
        hooked(middle)
    elif change == 'old norm':
        nn.utils.spectral_norm(middle)
    elif change == 'parametrisation':
        nn.utils.parametrizations.weight_norm(middle)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 5, padding=2), middle).requires_grad_(False)
    close(NcnnNetwork(net.eval(), {})(photo), net(photo))


def test_an_old_ncnn_is_named(monkeypatch):
    monkeypatch.delattr(ncnn.Net, 'load_model_mem')
    with pytest.raises(OptionError, match='this ncnn is too old; pip install'):
        NcnnNetwork(Compact(2, 12, 2), {})


class Looking(nn.Module):
    """Decides by its input, which no trace can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x) if x.mean() > 0 else x


STRIDED = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 3, padding=1, stride=2))


@pytest.mark.parametrize(
    ('net', 'words'),
    [
        (Looking(), 'backend ncnn: Looking cannot be traced'),
        (STRIDED, 'can take 12 % of the weights of Sequential only'),
    ],
)
def test_a_network_that_gains_nothing_is_refused(net, words):
    with pytest.raises(OptionError, match=words):
        NcnnNetwork(net, {})


def test_missing_memory_is_recognised(photo, monkeypatch):
    network = NcnnNetwork(Compact(2, features=12, convolutions=2), {})
    monkeypatch.setattr(ncnn.Extractor, 'extract', lambda *_: (-100, None))
    with pytest.raises(MemoryError) as caught:
        network(photo)
    assert is_lack_of_memory(caught.value)
    monkeypatch.setattr(ncnn.Extractor, 'extract', lambda *_: (-1, None))
    with pytest.raises(RuntimeError, match='ncnn ends with -1 on 63 x 47 pixels'):
        network(photo)


def test_unadapted_photos_share_one_network(photo):
    generator = Generator(Compact(2, features=12, convolutions=2).requires_grad_(False).eval(), 2)
    networks = SharedNetworks(generator, None, torch.device('cpu'), 'ncnn')
    made = []
    for params in (None, None, changed(generator.net)):
        made.append(networks._run_of(params, 'float32'))
    assert made[0] is made[1]
    assert made[2] is not made[0]


def test_options_that_do_not_fit_are_refused(monkeypatch):
    with pytest.raises(ValueError, match='ncnn computes in float32, and precision is bfloat16'):
        RestoreOptions(precision='bfloat16', backend='ncnn')
    monkeypatch.setattr('metaf2n_arch.inference.restore_options.find_spec', lambda name: None)
    with pytest.raises(ValueError, match=r'ncnn is not installed: pip install'):
        RestoreOptions(backend='ncnn')
    monkeypatch.undo()
    generator, options = Generator(Compact(2, 12, 2).eval(), 2), RestoreOptions(inner_steps=0, backend='ncnn')
    with pytest.raises(OptionError, match='backend ncnn computes on the CPU, and device is meta'):
        MetaF2N(generator, None, None, None, torch.device('meta'), options)
