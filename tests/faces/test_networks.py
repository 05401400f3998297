"""Restorers with networks, from weights files that are filled randomly but have the official names and shapes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from metaf2n_arch.archs.gpen_arch import GPEN
from metaf2n_arch.faces.restorers import build_restorer
from metaf2n_arch.utils.checks import DataError, OptionError

SMALL = {'type': 'gpen', 'size': 256, 'channel_multiplier': 1, 'narrow': 0.0625}


@pytest.fixture
def small_gpen(tmp_path: Path) -> tuple[GPEN, Path]:
    torch.manual_seed(0)
    network = GPEN(256, 1, 0.0625).eval()
    path = tmp_path / 'small.pth'
    torch.save(network.state_dict(), path)
    return network, path


@pytest.fixture
def face(astronaut_tensor: torch.Tensor) -> torch.Tensor:
    return astronaut_tensor[:, :, 0:256, 96:352].contiguous()


@pytest.fixture
def portrait(astronaut_tensor: torch.Tensor) -> torch.Tensor:
    return astronaut_tensor.contiguous()


def test_gpen_sees_rgb_from_minus_one_to_one(small_gpen, face):
    network, path = small_gpen
    restored = build_restorer({**SMALL, 'weights': str(path)}).restore(face)
    with torch.no_grad():
        expected = ((network(face * 2 - 1) + 1) / 2).clamp(0, 1)
    assert torch.equal(restored, expected)


@pytest.mark.parametrize('key', ['g_ema', 'params_ema', 'params'])
def test_gpen_is_found_under_the_keys_that_trainers_use(small_gpen, face, key):
    network, path = small_gpen
    expected = build_restorer({**SMALL, 'weights': str(path)}).restore(face)
    torch.save({key: {f'module.{k}': v for k, v in network.state_dict().items()}}, path)
    assert torch.equal(build_restorer({**SMALL, 'weights': str(path)}).restore(face), expected)


def test_gpen_is_read_from_safetensors(small_gpen, face):
    from safetensors.torch import save_file

    network, path = small_gpen
    expected = build_restorer({**SMALL, 'weights': str(path)}).restore(face)
    save_file(network.state_dict(), path.with_suffix('.safetensors'))
    restorer = build_restorer({**SMALL, 'weights': str(path.with_suffix('.safetensors'))})
    assert torch.equal(restorer.restore(face), expected)


def test_the_published_gpen_256_runs_from_a_file_of_its_shape(tmp_path, face, no_weights):
    no_weights.mkdir()
    torch.manual_seed(0)
    torch.save(GPEN(256, 1, 0.5).state_dict(), no_weights / 'GPEN-BFR-256.pth')
    restored = build_restorer({'type': 'gpen', 'size': 256}).restore(torch.cat([face, face.flip(-1)]))
    assert restored.shape == (2, 3, 256, 256)
    assert restored.std() > 0.01


def test_the_memory_format_of_the_faces_does_not_matter(small_gpen, face):
    restorer = build_restorer({**SMALL, 'weights': str(small_gpen[1])})
    turned = face.contiguous(memory_format=torch.channels_last)
    assert torch.equal(restorer.restore(turned), restorer.restore(face))


@pytest.mark.slow
def test_the_published_gpen_512_runs_from_a_file_of_its_shape(face, no_weights):
    no_weights.mkdir()
    torch.manual_seed(0)
    torch.save(GPEN(512, 2, 1.0).state_dict(), no_weights / 'GPEN-BFR-512.pth')
    restored = build_restorer('gpen').restore(face)
    assert restored.shape == face.shape
    assert restored.std() > 0.01


@pytest.mark.slow
def test_gfpgan_gives_the_same_face_twice_as_its_own_network_does(tmp_path, portrait):
    from gfpgan.archs.gfpganv1_clean_arch import GFPGANv1Clean

    torch.manual_seed(0)
    network = GFPGANv1Clean(512, channel_multiplier=2, input_is_latent=True, different_w=True, sft_half=True).eval()
    path = tmp_path / 'gfpgan.pth'
    torch.save({'params_ema': network.state_dict()}, path)
    restorer = build_restorer({'type': 'gfpgan', 'weights': str(path)})
    with torch.no_grad():
        image, _ = network(portrait * 2 - 1, return_rgb=False, randomize_noise=False)
    expected = ((image + 1) / 2).clamp(0, 1)
    assert torch.equal(restorer.restore(portrait), expected)
    assert torch.equal(restorer.restore(portrait), expected)


@pytest.mark.parametrize(
    ('block', 'name'),
    [
        ({'type': 'gpen', 'size': 256}, 'gpen_bfr_256'),
        ('gpen', 'gpen_bfr_512'),
        ('gfpgan', 'gfpgan_v1.4'),
        ({'type': 'gfpgan', 'weights': 'gfpgan_v1.3'}, 'gfpgan_v1.3'),
    ],
)
def test_missing_weights_say_how_to_get_them_and_fetch_nothing(no_weights, block, name):
    with pytest.raises(DataError, match=f'metaf2n weights fetch {name}'):
        build_restorer(block)
    assert not no_weights.exists()


def test_weights_of_another_network_are_refused(weights_dir):
    path = weights_dir / 'realesr-animevideov3.pth'
    with pytest.raises(DataError, match=r'realesr-animevideov3\.pth.*not the weights of the GPEN'):
        build_restorer({**SMALL, 'weights': str(path)})


def test_weights_of_gpen_of_another_width_are_refused(small_gpen):
    with pytest.raises(DataError, match='of another shape'):
        build_restorer({**SMALL, 'narrow': 0.125, 'weights': str(small_gpen[1])})


def test_a_file_that_is_no_state_dict_is_refused(tmp_path):
    path = tmp_path / 'list.pth'
    torch.save([1, 2, 3], path)
    with pytest.raises(DataError, match='holds list, expected a state dict'):
        build_restorer({**SMALL, 'weights': str(path)})


def test_a_size_without_published_weights_asks_for_them():
    with pytest.raises(OptionError, match=r'restorer\.weights'):
        build_restorer({'type': 'gpen', 'size': 1024})


@pytest.mark.skipif(importlib.util.find_spec('spandrel') is None, reason='spandrel is not installed')
def test_spandrel_refuses_a_network_of_another_kind(weights_dir):
    path = weights_dir / 'realesr-animevideov3.pth'
    with pytest.raises(DataError, match='a Compact network, expected restoreformer'):
        build_restorer({'type': 'restoreformer', 'weights': str(path)})


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec('spandrel') is None, reason='spandrel is not installed')
def test_restoreformer_runs_through_spandrel(tmp_path, portrait):
    from spandrel.architectures.RestoreFormer import RestoreFormer

    torch.manual_seed(0)
    network = RestoreFormer(ch=32, head_size=8).eval()
    path = tmp_path / 'restoreformer.pth'
    torch.save({'params': network.state_dict()}, path)
    with torch.no_grad():
        expected = ((network(portrait * 2 - 1)[0] + 1) / 2).clamp(0, 1)
    restored = build_restorer({'type': 'restoreformer', 'weights': str(path)}).restore(portrait)
    torch.testing.assert_close(restored, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(('kind', 'package'), [('restoreformer', 'spandrel'), ('codeformer', 'spandrel_extra_arches')])
def test_a_package_that_is_not_installed_is_named(monkeypatch, kind, package):
    import sys

    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(OptionError, match=f'pip install .*{package}'):
        build_restorer(kind)
