"""Networks from files: the two routes agree, and what does not fit is one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.archs.srvgg_arch import SRVGGNetCompact

from metaf2n_arch.archs.mask_net_arch import MaskNet
from metaf2n_arch.utils.checks import DataError, OptionError
from metaf2n_arch.weights.loading import AnySize, load_generator, load_mask_net

RRDB = {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1}
COMPACT = {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 2, 'upscale': 3}


def save(net: torch.nn.Module, path: Path, key: str | None = 'params') -> Path:
    torch.save({key: net.state_dict()} if key else net.state_dict(), path)
    return path


@pytest.fixture
def rrdb(tmp_path) -> tuple[RRDBNet, Path]:
    torch.manual_seed(0)
    net = RRDBNet(**{k: v for k, v in RRDB.items() if k != 'type'}).eval()
    return net, save(net, tmp_path / 'g.pth', 'params_ema')


@pytest.mark.parametrize('architecture', [None, RRDB], ids=['recognised', 'named'])
def test_a_file_gives_the_network_it_was_saved_from(rrdb, astronaut_tensor, architecture):
    net, path = rrdb
    loaded = load_generator(path, architecture)
    x = astronaut_tensor[..., :20, :24]
    assert loaded.scale == 4
    assert torch.allclose(loaded.net(x), net(x), atol=1e-6)
    assert not any(p.requires_grad for p in loaded.net.parameters())


def test_scale_and_sides_of_a_named_network_are_found_by_trying(tmp_path):
    compact = save(SRVGGNetCompact(num_feat=8, num_conv=2, upscale=3), tmp_path / 'compact.pth', None)
    assert load_generator(compact, COMPACT).scale == 3
    two = {**RRDB, 'scale': 2}
    unshuffling = save(RRDBNet(**{k: v for k, v in two.items() if k != 'type'}), tmp_path / 'two.pth')
    loaded = load_generator(unshuffling, two)
    assert (loaded.scale, loaded.net.multiple) == (2, 2)
    assert loaded.net(torch.zeros(1, 3, 7, 13)).shape == (1, 3, 14, 26)


def test_padding_reaches_what_the_network_takes_and_keeps_the_image(astronaut_tensor):
    image = astronaut_tensor[..., :13, :30]
    seen = []
    wrapped = AnySize(torch.nn.Identity(), 1, multiple=8)
    wrapped.net.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    assert torch.equal(wrapped(image), image)
    (padded,) = seen
    assert padded.shape == (1, 3, 16, 32)
    assert torch.equal(padded[..., :13, :30], image)
    assert torch.equal(padded[..., 13, :30], image[..., 11, :])


SPANDREL = {
    'SPAN': {'num_in_ch': 3, 'num_out_ch': 3, 'feature_channels': 8},
    'RealPLKSR': {'dim': 16, 'n_blocks': 1, 'kernel_size': 7},
    'SwinIR': {'img_size': 8, 'embed_dim': 12, 'depths': [1], 'num_heads': [2], 'window_size': 4, 'upscale': 2,
               'upsampler': 'pixelshuffledirect', 'mlp_ratio': 2},
}  # fmt: skip


@pytest.mark.parametrize('arch', SPANDREL)
def test_networks_that_spandrel_recognises_can_be_adapted_at_any_size(arch, tmp_path, astronaut_tensor):
    """The same network by name is the oracle of every gradient; spandrel's own gives SPAN's merged weights none."""
    from metaf2n_arch.archs.spandrel_networks import build_spandrel

    torch.manual_seed(0)
    named = build_spandrel(arch, **SPANDREL[arch]).eval()
    recognised = load_generator(save(named, tmp_path / 'g.pth', 'params')).net.requires_grad_(True)
    image = astronaut_tensor[..., 90:103, 200:217].clone()
    outputs = [net(image) for net in (named, recognised)]
    assert torch.equal(*outputs)
    found, wanted = ({n: p.grad for n, p in net.named_parameters()} for net in (recognised, named)
                     if net(image).square().sum().backward() is None)  # fmt: skip
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in found if wanted[name] is not None)
    assert sum(g is not None and bool(g.any()) for g in found.values()) > 3


def test_a_real_pretrained_generator_is_recognised(data_dir):
    loaded = load_generator(data_dir / 'weights' / 'realesr-animevideov3.pth')
    assert loaded.scale == 4
    assert loaded.net(torch.zeros(1, 3, 7, 5)).shape == (1, 3, 28, 20)


def test_mask_net_sizes_are_read_off_the_file_and_its_grid_off_the_options(tmp_path):
    torch.manual_seed(0)
    net = MaskNet(num_feat=8, num_conv=3, upsample='authors')
    path = save(net, tmp_path / 'm.pth')
    x, y = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 32, 32)
    assert torch.equal(load_mask_net(path, {'type': 'MaskNet', 'upsample': 'authors'})(x, y), net(x, y))
    assert not torch.equal(load_mask_net(path)(x, y), net(x, y))


@pytest.mark.parametrize(
    ('architecture', 'error', 'message'),
    [
        ({'type': 'RRDBNett'}, OptionError, "Did you mean 'RRDBNet'"),
        ({'num_feat': 8}, OptionError, 'expected a block with a type'),
        ({**RRDB, 'num_feets': 8}, OptionError, 'num_feets'),
        ({**RRDB, 'num_feat': 16}, DataError, 'of another shape'),
        ({'type': 'MaskNet'}, DataError, 'not the weights of the MaskNet'),
    ],
)
def test_a_wrong_architecture_is_one_clear_line(rrdb, architecture, error, message):
    with pytest.raises(error, match=message) as caught:
        load_generator(rrdb[1], architecture)
    assert '\n' not in str(caught.value)


def test_a_network_that_does_not_enlarge_images_is_refused(tmp_path):
    mask = save(MaskNet(num_feat=8, num_conv=3), tmp_path / 'm.pth')
    with pytest.raises(OptionError, match='does not map'):
        load_generator(mask, {'type': 'MaskNet', 'num_feat': 8, 'num_conv': 3})


def test_files_that_hold_no_such_network_are_named(tmp_path, rrdb):
    mask = save(MaskNet(num_feat=8, num_conv=3), tmp_path / 'm.pth')
    with pytest.raises(DataError, match=r'm\.pth: not recognised as a network'):
        load_generator(mask)
    with pytest.raises(DataError, match='holds no MaskNet'):
        load_mask_net(rrdb[1])
    with pytest.raises(DataError, match='no such file'):
        load_generator(tmp_path / 'absent.pth')
