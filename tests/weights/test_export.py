"""Exported generators: spandrel reads the same network, the file says how it was trained, the hub takes it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.archs.srvgg_arch import SRVGGNetCompact
from safetensors import safe_open

from metaf2n_arch.utils.checks import DataError, OptionError
from metaf2n_arch.weights import export as exporting
from metaf2n_arch.weights import hub
from metaf2n_arch.weights.export import export
from metaf2n_arch.weights.loading import load_generator
from metaf2n_arch.weights.records import RECORD, TrainingRecord, training_record

TRAINING = TrainingRecord(model='MetaF2NModel', scale=4, inner_lr=0.02, inner_steps=1, adapt_only=('body.*',))
NETWORKS = {
    'compact': lambda: SRVGGNetCompact(num_feat=8, num_conv=2, upscale=4),
    'rrdb': lambda: RRDBNet(3, 3, 4, 8, 1, 32),
    'rrdb x2': lambda: RRDBNet(3, 3, 2, 8, 1, 32),
}


@pytest.fixture(params=NETWORKS)
def trained(request, tmp_path):
    """A generator and its meta-trained checkpoint."""
    torch.manual_seed(0)
    net = NETWORKS[request.param]().eval()
    torch.save({'params': net.state_dict(), RECORD: TRAINING.plain()}, tmp_path / 'g.pth')
    return net, tmp_path / 'g.pth'


@pytest.mark.parametrize('half', [False, True])
def test_spandrel_reads_the_same_network(trained, tmp_path, half):
    import spandrel

    net, path = trained
    export(path, tmp_path / 'g.safetensors', half=half)
    theirs = spandrel.ModelLoader('cpu').load_from_file(tmp_path / 'g.safetensors')
    x = torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(theirs.model.float()(x), net(x), atol=2e-3 if half else 1e-6)
    with safe_open(tmp_path / 'g.safetensors', 'pt') as file:
        assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.float16 if half else torch.float32}  # noqa: SIM118 (safe_open is no mapping)
    assert not half or (tmp_path / 'g.safetensors').stat().st_size < 0.75 * path.stat().st_size


def test_the_file_says_what_it_is_and_how_it_was_trained(trained, tmp_path):
    _, path = trained
    exported = export(path, tmp_path / 'g.safetensors')
    assert 'meta-trained' in str(exported)
    assert training_record(tmp_path / 'g.safetensors') == TRAINING
    again = load_generator(tmp_path / 'g.safetensors')
    assert again.record == TRAINING
    with safe_open(tmp_path / 'g.safetensors', 'pt') as file:
        architecture = json.loads(file.metadata()['architecture'])
        assert file.metadata()['scale'] == str(again.scale)
    named = load_generator(tmp_path / 'g.safetensors', architecture)  # as an option file would spell it
    x = torch.rand(1, 3, 12, 16)
    assert torch.allclose(named.net(x), again.net(x), atol=1e-6)


def test_what_float16_cannot_hold_is_one_line(tmp_path):
    net = NETWORKS['compact']()
    net.body[0].weight.data[0, 0, 0, 0] = 1e6
    torch.save(net.state_dict(), tmp_path / 'g.pth')
    with pytest.raises(DataError, match=r'body\.0\.weight exceed 65504.*leave --half out'):
        export(tmp_path / 'g.pth', tmp_path / 'g.safetensors', half=True)
    assert not (tmp_path / 'g.safetensors').exists()


def test_another_ending_or_a_missing_package_is_one_line(tmp_path, monkeypatch):
    with pytest.raises(OptionError, match=r'writes \.safetensors or \.onnx'):
        export('g.pth', tmp_path / 'g.bin')
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(OptionError, match=r'pip install "onnx>='):
        export('g.pth', tmp_path / 'g.onnx')


def test_onnx_computes_what_torch_computes_at_any_size(trained, tmp_path):
    for package in ('onnx', 'onnxscript', 'onnxruntime'):
        pytest.importorskip(package, reason='needs the extra [onnx]')
    import onnxruntime

    net, path = trained
    assert 'opset 18' in str(export(path, tmp_path / 'g.onnx'))
    session = onnxruntime.InferenceSession(tmp_path / 'g.onnx', providers=['CPUExecutionProvider'])
    x = torch.rand(1, 3, 14, 50)
    with torch.no_grad():
        assert torch.allclose(torch.from_numpy(session.run(None, {'lq': x.numpy()})[0]), net(x), atol=1e-5)
    assert json.loads(session.get_modelmeta().custom_metadata_map[RECORD]) == TRAINING.plain()


def test_an_onnx_network_that_computes_something_else_is_not_written(trained, tmp_path, monkeypatch):
    for package in ('onnx', 'onnxscript', 'onnxruntime'):
        pytest.importorskip(package, reason='needs the extra [onnx]')
    monkeypatch.setattr(exporting, 'onnx_difference', lambda *_: 0.5)
    with pytest.raises(DataError, match=r'differs from torch by 0\.5.*nothing was written'):
        export(trained[1], tmp_path / 'g.onnx')
    assert not (tmp_path / 'g.onnx').exists()


class FakeHub:
    """A hub in a folder: what was put into a repository can be fetched from it."""

    def __init__(self, folder):
        self.folder = folder

    def HfApi(self):
        return self

    def create_repo(self, repo, private, exist_ok):
        (self.folder / repo).mkdir(parents=True, exist_ok=exist_ok)
        return f'https://hub.example/{repo}'

    def upload_file(self, path_or_fileobj, path_in_repo, repo_id):
        content = path_or_fileobj if isinstance(path_or_fileobj, bytes) else Path(path_or_fileobj).read_bytes()
        (self.folder / repo_id / path_in_repo).write_bytes(content)

    def hf_hub_download(self, repo, file, revision):
        if not (self.folder / repo / file).is_file():
            raise OSError('404 Client Error\nEntry Not Found')
        return str(self.folder / repo / file)


@pytest.fixture
def fake_hub(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, 'huggingface_hub', FakeHub(tmp_path / 'hub'))
    return tmp_path / 'hub'


def test_what_was_pushed_comes_back_with_its_record(trained, tmp_path, fake_hub):
    from metaf2n_arch import MetaF2N

    net, path = trained
    export(path, tmp_path / 'g.safetensors')
    assert hub.push(tmp_path / 'g.safetensors', 'me/net', 'apache-2.0') == 'https://hub.example/me/net'
    card = (fake_hub / 'me' / 'net' / 'README.md').read_text()
    assert card.startswith('---\nlicense: apache-2.0\n')
    assert "MetaF2N.from_pretrained('me/net')" in card
    assert '| inner_lr | `0.02` |' in card
    sr = MetaF2N.from_pretrained('me/net', detector='cascade', restorer='identity', device='cpu')
    assert sr.generator.record == TRAINING
    x = torch.rand(1, 3, 12, 16)
    with torch.no_grad():
        assert torch.allclose(sr.generator.net(x), net(x), atol=1e-6)


def test_the_hubs_mistakes_are_one_line(tmp_path, fake_hub):
    with pytest.raises(OptionError, match=r"'net' is not a repository of the hub, expected owner/name"):
        hub.download('net')
    with pytest.raises(DataError, match=r'me/net: model\.safetensors could not be fetched .*404') as caught:
        hub.download('me/net')
    assert '\n' not in str(caught.value)
    with pytest.raises(OptionError, match=r'takes \.safetensors files, which cannot execute code'):
        hub.push(tmp_path / 'g.pth', 'me/net', 'mit')


def test_without_the_package_the_extra_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(OptionError, match=r'pip install "huggingface_hub>='):
        hub.download('me/net')
