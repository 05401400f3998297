"""Every shipped option file goes through the runner's own parser, and everything it names is built."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from metaf2n_arch.images.writing import write_image
from metaf2n_arch.utils.resources import option_file, option_files


@pytest.fixture(scope='module')
def weights(tmp_path_factory) -> Path:
    """Randomly filled files of the published shapes, under the names that the real loading code looks for."""
    import torchvision
    from basicsr.archs.discriminator_arch import UNetDiscriminatorSN
    from basicsr.archs.rrdbnet_arch import RRDBNet

    from metaf2n_arch.archs.gpen_arch import GPEN
    from metaf2n_arch.archs.mask_net_arch import MaskNet

    folder = tmp_path_factory.mktemp('weights')
    generator = RRDBNet(3, 3, scale=4, num_feat=64, num_block=23, num_grow_ch=32)
    torch.save({'params_ema': generator.state_dict()}, folder / 'RealESRGAN_x4plus.pth')
    torch.save({'params': UNetDiscriminatorSN(3, 64).state_dict()}, folder / 'RealESRGAN_x4plus_netD.pth')
    torch.save(GPEN(256, 1, 0.5).state_dict(), folder / 'GPEN-BFR-256.pth')
    torch.save({'params': generator.state_dict(), 'params_ema': generator.state_dict()}, folder / 'net_g_latest.pth')
    torch.save({'params': MaskNet().state_dict()}, folder / 'net_m_latest.pth')
    checkpoints = folder / 'hub' / 'checkpoints'
    checkpoints.mkdir(parents=True)
    trunk = torchvision.models.alexnet(weights=None).state_dict()
    torch.save(trunk, checkpoints / 'alexnet-owt-7be5be79.pth')
    return folder


@pytest.fixture
def workplace(tmp_path, monkeypatch, weights, astronaut) -> Path:
    """A working folder laid out as datasets/README.md says, with a photograph in each place."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('METAF2N_WEIGHTS', str(weights))
    monkeypatch.setenv('TORCH_HOME', str(weights))
    monkeypatch.setattr('torchvision.models.vgg.vgg19', _vgg19_without_weights)
    return tmp_path


def _vgg19_without_weights(**_: Any) -> SimpleNamespace:
    """What the host's PerceptualLoss takes of torchvision's network: its features, without half a gigabyte of file."""
    from torchvision.models.vgg import cfgs, make_layers

    return SimpleNamespace(features=make_layers(cfgs['E']))


def fill(root: Path, photo: np.ndarray, scale: int) -> None:
    """Puts images where one data set looks for them."""
    layout = {'GT': photo[:256, 128:384], 'LQ': photo[:256:scale, 128:384:scale]}
    layout |= {'Face_HQ': photo[40:168, 160:288], 'Face_LQ': photo[40:168:scale, 160:288:scale]}
    for folder, image in layout.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        write_image(root / folder / ('photo_0.png' if 'Face' in folder else 'photo.png'), np.ascontiguousarray(image))


def provide(options: dict[str, Any], weights: Path, photo: np.ndarray) -> None:
    """Makes the data and the earlier experiments that an option file names."""
    scale = options.get('scale', 4)
    for block in options['datasets'].values():
        if block['type'].startswith('Demo'):
            continue
        for key in [k for k in block if k.startswith('dataroot')]:
            root = Path(block[key])
            if block['type'] == 'FacePairDataset':
                fill(root, photo, scale)
                continue
            root.mkdir(parents=True, exist_ok=True)
            image = photo[:256, 128:384] if key == 'dataroot_face' else photo
            name = block.get('filename_tmpl', '{}').format('photo') if key == 'dataroot_lq' else 'photo'
            write_image(root / f'{name}.png', image[::scale, ::scale] if key == 'dataroot_lq' else image)
    for value in options['path'].values():
        if isinstance(value, str) and value.startswith('experiments/'):
            Path(value).parent.mkdir(parents=True, exist_ok=True)
            Path(value).symlink_to(weights / Path(value).name)


@pytest.mark.parametrize('name', option_files())
def test_every_shipped_option_file_builds(name, workplace, weights, monkeypatch, astronaut):
    import yaml
    from basicsr.data import build_dataset
    from basicsr.models import build_model
    from basicsr.utils.options import parse_options

    file = option_file(name)
    raw = yaml.safe_load(file.read_text(encoding='utf-8'))
    provide(raw, weights, astronaut)
    # One photograph in each place is no batch of four tasks.
    # A test would end here, as weights of its metrics are missing.
    forced = ['--force_yml', 'datasets:train:batch_size_per_gpu=1' if 'train' in raw else 'val:allow_missing=true']
    monkeypatch.setattr(sys, 'argv', ['basicsr', '-opt', str(file), *forced])
    options, _ = parse_options(str(workplace), is_train='train' in raw)
    for block in options['datasets'].values():
        assert len(build_dataset(block)) > 0
    model = build_model(options)
    assert model.net_g is not None
    assert not (workplace / 'results').exists()
