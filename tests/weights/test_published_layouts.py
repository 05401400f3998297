"""The compared models from their own weights files: what each file computes is written once more, from its layout."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from published_layouts import MEAN, PUBLISHED

from metaf2n_arch.archs.srresnet_arch import SRResNet
from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.weights.files import load_state_dict
from metaf2n_arch.weights.layouts import in_names_of
from metaf2n_arch.weights.loading import build_registered, load_generator


def options(name: str) -> dict[str, object]:
    more = {'num_grow_ch': 4} if PUBLISHED[name].network['type'] == 'RRDBNet' else {}
    return {**PUBLISHED[name].options(8, 2), **more}


@pytest.mark.parametrize('name', PUBLISHED)
def test_a_published_file_computes_what_its_authors_program_does(name, tmp_path, astronaut_tensor):
    state = PUBLISHED[name].write(tmp_path / name, 8, 2)
    loaded = load_generator(tmp_path / name, options(name))
    assert loaded.scale == 4
    photo = astronaut_tensor[..., 100:113, 200:220]
    expected = PUBLISHED[name].forward(state, photo)
    assert expected.shape == (1, 3, 52, 80)
    torch.testing.assert_close(loaded.net(photo), expected, rtol=1e-4, atol=1e-5)


@pytest.fixture
def asked_for(monkeypatch):
    """A run that asks for the whole bridge; without that, stock models load as they do without us."""
    from metaf2n_arch.bridge import circle

    monkeypatch.setenv(circle.SWITCH, 'all')
    circle.forget()
    yield
    circle.forget()


@pytest.mark.usefixtures('asked_for')
@pytest.mark.parametrize('name', PUBLISHED)
def test_bases_of_the_host_load_the_file_too(name, tmp_path, astronaut_tensor):
    """BasicSR's own models in a run that asks for ours: `BaseModel.load_network`, as its SRModel calls it."""
    from basicsr.models.base_model import BaseModel

    state = PUBLISHED[name].write(tmp_path / name, 8, 2)
    net = build_registered(options(name))
    model = SimpleNamespace(get_bare_model=lambda network: network)
    BaseModel.load_network(model, net, str(tmp_path / name), True, 'params')
    photo = astronaut_tensor[..., 100:113, 200:220]
    torch.testing.assert_close(net(photo), PUBLISHED[name].forward(state, photo), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', [name for name in PUBLISHED if PUBLISHED[name].network['type'] == 'RRDBNet'])
def test_another_reader_of_the_same_file_agrees(name, tmp_path, astronaut_tensor):
    spandrel = pytest.importorskip('spandrel')
    PUBLISHED[name].write(tmp_path / name, 64, 1)
    named = load_generator(tmp_path / name, PUBLISHED[name].options(64, 1))
    theirs = spandrel.ModelLoader(device='cpu').load_from_state_dict(load_state_dict(tmp_path / name))
    photo = astronaut_tensor[..., 100:116, 200:220]
    torch.testing.assert_close(named.net(photo), theirs.model(photo).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', PUBLISHED)
def test_the_published_sizes_fit_tensor_by_tensor(name):
    """At full size, without storage: names and shapes alone."""
    published = PUBLISHED[name]
    with torch.device('meta'):
        net = build_registered(published.options(*published.sizes))
    shapes = {}
    for layer, out, into in published.shapes(*published.sizes):
        shapes[f'{layer}.weight'], shapes[f'{layer}.bias'] = (out, into, 3, 3), (out,)
    state = {key: torch.empty(shape, device='meta') for key, shape in shapes.items()}
    fitted = in_names_of(net, state, name)
    assert {k: v.shape for k, v in fitted.items()} == {k: v.shape for k, v in net.state_dict().items()}
    known = {'RRDBNet': 16_697_987, 'EDSR': 43_089_923, 'SRResNet': 1_554_499}
    assert sum(v.numel() for v in fitted.values()) == known[published.network['type']]


def test_files_of_the_network_itself_and_of_unknown_layouts_pass_untouched():
    net = SRResNet(num_feat=8, num_block=1)
    own = net.state_dict()
    assert list(in_names_of(net, own, 'x')) == list(own)
    other = {'model.0.weight': torch.zeros(1), 'something.else': torch.zeros(1)}
    assert in_names_of(net, other, 'x') == other


def test_a_file_of_another_of_these_models_is_one_line(tmp_path):
    rank = tmp_path / 'rank.pth'
    PUBLISHED['RankSRGAN_NIQE.pth'].write(rank, 8, 2)
    for name in ('edsr_x4-4f62e9ef.pt', 'RRDB_PSNR_x4.pth'):
        with pytest.raises(DataError, match='not the weights of the') as caught:
            load_generator(rank, options(name))
        assert '\n' not in str(caught.value)
    with pytest.raises(DataError, match='unexpected \\(conv_after_body'):
        load_generator(rank, {'type': 'MSRResNet', 'num_feat': 8, 'num_block': 2})
    with pytest.raises(DataError, match='of another shape'):
        load_generator(rank, {'type': 'SRResNet', 'num_feat': 16, 'num_block': 2})
    with pytest.raises(DataError, match=r'missing \(body\.2\.conv1\.weight'):
        load_generator(rank, {'type': 'SRResNet', 'num_feat': 8, 'num_block': 3})


def test_edsr_options_that_subtract_other_colours_are_named(tmp_path):
    name = 'edsr_x4-4f62e9ef.pt'
    PUBLISHED[name].write(tmp_path / name, 8, 2)
    with pytest.raises(DataError, match=r'\[114\.444, 111\.46, 103\.02\] is subtracted.*set img_range and rgb_mean'):
        load_generator(tmp_path / name, {**options(name), 'img_range': 1.0})
    load_generator(tmp_path / name, {**options(name), 'rgb_mean': MEAN})


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_srresnet_enlarges_and_its_gradient_reaches_every_weight(scale):
    torch.manual_seed(0)
    net = SRResNet(num_feat=8, num_block=2, upscale=scale)
    output = net(torch.rand(2, 3, 5, 7))
    assert output.shape == (2, 3, 5 * scale, 7 * scale)
    output.square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in net.parameters())


def test_srresnet_refuses_another_scale():
    with pytest.raises(ValueError, match='upscale is 8, expected 2, 3 or 4'):
        SRResNet(upscale=8)
