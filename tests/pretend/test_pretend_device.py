"""No tensor of the CPU is mixed with those of a model's device: each path on a pretend device, against the CPU itself.

The numbers must be those of the same path on the CPU: the pretend device computes there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import made_up_weights
import numpy as np
import pytest
import torch
from basicsr.models import build_model
from basicsr.utils.registry import METRIC_REGISTRY
from pretend_device import Pretend, pretending
from torch import Tensor
from torch.utils._pytree import tree_map
from torch.utils.data import DataLoader, default_collate

from metaf2n_arch.archs.lpips_network import TRUNKS
from metaf2n_arch.archs.mask_net_arch import MaskNet
from metaf2n_arch.degradation import DegradationConfig, apply
from metaf2n_arch.faces.detector import Detector, DetectorOptions, Face
from metaf2n_arch.faces.restorers import build_restorer
from metaf2n_arch.inference import MetaF2N, RestoreOptions
from metaf2n_arch.metrics import brisque_metric, dists_metric, fid_metric, lpips_metric, niqe_metric
from metaf2n_arch.weights.loading import Generator
from metaf2n_arch.weights.search import table

SCALE = 2


def on_both(path: Callable[[torch.device], Any]) -> tuple[Any, Any]:
    """What a path returns on the CPU, and on the pretend device, brought back."""
    torch.manual_seed(0)
    expected = path(torch.device('cpu'))
    torch.manual_seed(0)
    with pretending() as device:
        found = path(device)
    return found, expected


def assert_same(path: Callable[[torch.device], Any]) -> None:
    found, expected = on_both(path)
    torch.testing.assert_close(tree_map(bare, found), tree_map(bare, expected), rtol=1e-4, atol=1e-6, equal_nan=True)


def bare(value: Any) -> Any:
    return value.held if isinstance(value, Pretend) else value.detach() if isinstance(value, Tensor) else value


# the device itself ----------------------------------------------------------------------------------------------------


def test_the_device_refuses_what_gpus_refuse():
    with pretending() as device:
        here, there = torch.ones(3), torch.ones(3, device=device)
        for mixed in (
            lambda: here + there,
            lambda: there.index_select(0, torch.tensor([1])),
            lambda: torch.cat([here, there]),
            lambda: torch.rand(3, device=device, generator=torch.Generator()),
            lambda: np.asarray(there),
            lambda: there.double(),
        ):
            with pytest.raises((RuntimeError, TypeError)):
                mixed()
        assert bare(there * 2 + torch.tensor(1.0))[0] == 3
        assert bare(there[torch.tensor([0, 1])]).shape == (2,)
        assert bare(torch.arange(6.0).view(2, 3).to(device)[:, [2]]).tolist() == [[2.0], [5.0]]
        assert there.to('cpu').add(here)[0] == 2


def test_the_device_computes_what_the_cpu_computes():
    def path(device):
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.PReLU()).to(device)
        optimizer = torch.optim.Adam(net.parameters())
        for _ in range(2):
            optimizer.zero_grad()
            (net(torch.ones(1, 3, 8, 8).to(device)) ** 2).mean().backward()
            optimizer.step()
        return [p.detach().cpu() for p in net.parameters()]

    assert_same(path)


# training -------------------------------------------------------------------------------------------------------------


def options(folder: Path, model: str, **changes: Any) -> dict[str, Any]:
    """A training of networks as small as they can be."""
    base: dict[str, Any] = {
        'name': 'small',
        'model_type': model,
        'scale': SCALE,
        'num_gpu': 0,
        'manual_seed': 0,
        'dist': False,
        'rank': 0,
        'world_size': 1,
        'is_train': True,
        'network_g': {'type': 'SRVGGNetCompact', 'num_feat': 4, 'num_conv': 1, 'upscale': SCALE, 'act_type': 'prelu'},
        'network_d': {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 4},
        'path': {key: str(folder) for key in ('models', 'training_states', 'visualization')},
        'logger': {'print_freq': 1, 'loss_shares': True},
        'train': {
            'total_iter': 10,
            'ema_decay': 0.5,
            'optim_g': {'type': 'SGD', 'lr': 0.1, 'momentum': 0.9},
            'optim_d': {'type': 'SGD', 'lr': 0.1, 'momentum': 0.9},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [100]},
            'losses': [
                {'type': 'L1Loss', 'target': 'gt_usm'},
                {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1},
            ],
        },
    }
    if model == 'MetaF2NModel':
        base |= {
            'network_m': {'type': 'MaskNet', 'num_feat': 4, 'num_conv': 2, 'bias_last': 1.0},
            'meta': {'inner_lr': 0.05},
        }
        base['train']['losses'].append({'type': 'MaskRegularizerLoss', 'loss_weight': 0.02})
        base['face'] = {'patches': 2, 'patch_size': 16}
    losses = changes.pop('losses', None)
    if losses is not None:
        base['train']['losses'] = losses
    base['train'].update(changes.pop('train', {}))
    return {**base, **changes}


@pytest.fixture
def tasks(astronaut_tensor) -> dict[str, Any]:
    """A batch of one task: a face and two natural images."""
    draw = DegradationConfig(scale=SCALE).sample(np.random.default_rng(3))
    face, natural = astronaut_tensor[0, :, 60:92, 180:212], astronaut_tensor[0, :, 300:332, 60:92]
    task = {
        'face': face[None],
        'face_crop': torch.tensor([[8, 4, 16, 16]]),
        'gt': torch.stack([natural, natural.flip(-1)]),
        'degradation': draw.to_tensors(),
    }
    return default_collate([task])


def trained(model: Any) -> list[Any]:
    """All that two iterations have moved, and what they logged."""
    nets = [model.net_g, model.net_g_ema, *model.other_networks().values()]
    log = {key: value for key, value in model.get_current_log().items() if key != 'peak_memory_gb'}
    return [[p.detach() for p in net.state_dict().values()] for net in nets] + [log]


VARIANTS: dict[str, dict[str, Any]] = {
    'first': {'meta': {'inner_lr': 0.05, 'mode': 'first'}},
    'first_mask': {'meta': {'inner_lr': 0.05, 'mode': 'first_mask'}},
    'second': {},
    'learned rates': {'meta': {'inner_lr': 'learned'}},
    'two steps, annealed': {'meta': {'inner_lr': 0.05, 'inner_steps': 2, 'annealing_iters': 5}},
    'unadapted weight': {'meta': {'inner_lr': 0.05, 'unadapted_weight': 0.5}},
    'reverse': {'meta': {'inner_lr': 0.05, 'curvature': 'reverse'}},
    'graph not kept': {'meta': {'inner_lr': 0.05, 'keep_graph': False}},
    'checkpointing': {'meta': {'inner_lr': 0.05, 'checkpointing': True}},
    'some tensors': {'meta': {'inner_lr': 0.05, 'adapted': ['body.0.*']}},
    'restorer': {'face': {'patches': 2, 'patch_size': 16, 'restorer': {'type': 'identity'}}},
    'colour fix': {'color_fix': {'type': 'lowfreq', 'in_training': True}},
    'channels last': {'performance': {'channels_last': True}},
    'ragan': {'losses': [{'type': 'L1Loss'}, {'type': 'RelativisticGANLoss', 'kind': 'RaGAN', 'loss_weight': 0.1}]},
    'ssl': {'losses': [{'type': 'SSLLoss', 'search_size': 9, 'patch_size': 3}, {'type': 'L1Loss'}]},
}


@pytest.mark.parametrize('name', VARIANTS)
def test_metaf2n_trains(tmp_path, tasks, name):
    def path(device):
        model = build_model(options(tmp_path, 'MetaF2NModel', **VARIANTS[name]))
        assert model.device == device
        model.feed_data(tasks)
        model.optimize_parameters(1)
        return trained(model)

    assert_same(path)


FREQUENCY = ('DCTLoss', 'FFTLoss', 'FocalFrequencyLoss', 'SpectralLoss')
PAIRS: dict[str, dict[str, Any]] = {
    'losses of frequency': {'losses': [{'type': kind} for kind in FREQUENCY]},
    'one band alone': {'losses': [{'type': 'FrequencySeparation', 'loss': {'type': 'L1Loss'}, 'band': 'low'}]},
    'relativistic, with a penalty': {'losses': [{'type': 'RelativisticGANLoss', 'kind': 'RaGP'}]},
    'confusion of high frequencies': {
        'losses': [{'type': 'HighFrequencyConfusion', 'loss': {'type': 'GANLoss', 'gan_type': 'vanilla'}}]
    },
    'ssl as a norm': {'losses': [{'type': 'SSLLoss', 'search_size': 9, 'patch_size': 3, 'reduction': 'window'}]},
    'augmentations': {
        'train': {
            'augmentations': [{'type': kind, 'prob': 0.25} for kind in ('MixUp', 'CutMix', 'CutBlur', 'ResizeMix')]
        }
    },
    'colour fix': {'color_fix': {'type': 'wavelet', 'in_training': True}},
}


@pytest.mark.parametrize('name', PAIRS)
def test_gan_sr_trains_on_pairs(tmp_path, astronaut_tensor, name):
    gt = torch.cat([astronaut_tensor[..., y : y + 48, 160:208] for y in (40, 100)])

    def path(device):
        model = build_model(options(tmp_path, 'GANSRModel', **PAIRS[name]))
        for iteration in range(1, 6 if name == 'augmentations' else 2):
            model.feed_data({'gt': gt, 'lq': gt[..., ::SCALE, ::SCALE]})
            model.optimize_parameters(iteration)
        return trained(model)

    assert_same(path)


# degradations, validation, checkpoints --------------------------------------------------------------------------------


@pytest.mark.parametrize('number', range(4))
def test_degradations_are_drawn_for_and_applied_on_the_device(astronaut_tensor, number):
    config = DegradationConfig.out_of_distribution(SCALE) if number % 2 else DegradationConfig(scale=SCALE)
    draw = config.sample(np.random.default_rng(number))
    assert_same(lambda device: apply(astronaut_tensor[..., 40:104, 160:224].to(device), draw))


@pytest.mark.parametrize('model', ['MetaF2NModel', 'GANSRModel'])
def test_validation_and_checkpoints(tmp_path, astronaut_tensor, tasks, model):
    """A training validates, saves, and goes on from its files; nothing of the device is left in these."""

    def path(device):
        folder = tmp_path / device.type
        opt = options(folder, model, train={'optim_g': {'type': 'Adam', 'lr': 1e-4}})
        opt['path'] = {key: str(folder / key) for key in ('models', 'training_states', 'visualization')}
        opt['path']['experiments_root'] = str(folder)
        opt['val'] = {'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 2}}}
        for place in opt['path'].values():
            Path(place).mkdir(parents=True, exist_ok=True)
        trained_model = build_model(opt)
        trained_model.feed_data(tasks if model == 'MetaF2NModel' else pair(astronaut_tensor))
        trained_model.optimize_parameters(1)
        photos = DataLoader(Photos(astronaut_tensor, model == 'MetaF2NModel'), batch_size=1)
        trained_model.validation(photos, 1, None, save_img=False)
        trained_model.save(0, 1)
        state = torch.load(folder / 'training_states' / '1.state', weights_only=False)
        for file in (folder / 'models').iterdir():
            assert torch.load(file, weights_only=True), 'plain tensors of the CPU'
        opt['path']['pretrain_network_g'] = str(folder / 'models' / 'net_g_1.pth')
        again = build_model(opt)
        again.resume_training(state)
        again.feed_data(tasks if model == 'MetaF2NModel' else pair(astronaut_tensor))
        again.optimize_parameters(2)
        again.validation(photos, 2, None, save_img=False)
        return [p.detach() for p in again.net_g.parameters()]

    assert_same(path)


def pair(photo: Tensor) -> dict[str, Any]:
    gt = photo[..., 40:88, 160:208]
    return {'gt': gt, 'lq': gt[..., ::SCALE, ::SCALE]}


class Photos(torch.utils.data.Dataset):
    """A photo, with a face where there are to be faces."""

    def __init__(self, photo: Tensor, faces: bool) -> None:
        self.opt = {'name': 'photos'}
        gt = photo[0, :, 40:104, 160:224]
        self.item = {'lq': gt[:, ::SCALE, ::SCALE], 'gt': gt, 'lq_path': 'a.png'}
        if faces:
            self.item |= {'face_lq': [self.item['lq'][:, 4:24, 4:24]], 'face_hq': [gt[:, 8:48, 8:48]]}

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.item


# photos and metrics ---------------------------------------------------------------------------------------------------


class OneFace(Detector):
    def __init__(self) -> None:
        super().__init__(DetectorOptions(type='cascade'))

    def _search(self, image: np.ndarray) -> list[Face]:
        return [Face((4.0, 4.0, 36.0, 40.0), None, 0.75)]


@pytest.mark.parametrize(
    'settings',
    [
        {},
        {'inner_lr': 0.1, 'force_adapt': True, 'paste_faces': 0.5},
        {'color_fix': 'wavelet', 'tile': 40, 'overlap': 4},
    ],
    ids=str,
)
def test_a_photo_is_restored(astronaut, settings):
    photo = np.dstack([astronaut[40:104, 160:224], np.full((64, 64), 200, np.uint8)])

    def path(device):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 12, 3, padding=1), torch.nn.PixelShuffle(2)).requires_grad_(False)
        mask = MaskNet(num_feat=4, num_conv=2, bias_last=1.0).requires_grad_(False)
        parts = Generator(net, 2), mask, OneFace(), build_restorer('identity')
        sr = MetaF2N(*parts, device, RestoreOptions(patch_size=16, patches=4, **settings))
        result = sr(photo, unadapted=True, outscale=1.5)
        return [result.image.astype(np.float32), result.unadapted.astype(np.float32), *result.confidence]

    found, expected = on_both(path)
    for ours, theirs in zip(found, expected):
        assert np.abs(ours - theirs).max() <= 1, 'a rounding at most'
        assert np.abs(ours - theirs).mean() < 0.01


def test_metrics_measure_on_the_device(astronaut, tmp_path, monkeypatch):
    """FID through a network of its own size, and what the metrics share."""
    monkeypatch.setattr(fid_metric, 'FEATURES', 48)
    monkeypatch.setattr(fid_metric, '_references', OrderedDict())
    grid = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten())
    monkeypatch.setattr(fid_metric, 'inception_features', lambda device: grid)
    crops = [np.ascontiguousarray(astronaut[y : y + 64, 100:164, ::-1]) for y in (0, 90, 200)]

    def path(device):
        metric = fid_metric.FID(mode='legacy', device=device.type)
        for crop in crops:
            metric.update(crop, crop[::-1].copy())
        value = metric.compute()
        assert metric.sums['count'].item() == 3, 'none was missing'
        return value

    found, expected = on_both(path)
    assert found == pytest.approx(expected, rel=1e-3)


@pytest.fixture
def made_up(tmp_path, monkeypatch) -> None:
    """Weights of the metrics' networks with random values, and no network left over from another test."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.chdir(tmp_path)
    plain, of_pyiqa = tmp_path / 'hub' / 'checkpoints', tmp_path / 'hub' / 'pyiqa'
    plain.mkdir(parents=True)
    of_pyiqa.mkdir()
    for net in ('alex', 'vgg'):
        torch.save(made_up_weights.trunk(net), plain / TRUNKS[net].filename)
    torch.save(made_up_weights.dists(), of_pyiqa / table()['dists'].file)
    made_up_weights.brisque(of_pyiqa / table()['brisque'].file)
    made_up_weights.niqe(of_pyiqa / table()['niqe'].file)
    caches = lpips_metric._network, dists_metric._network, brisque_metric._network, niqe_metric._pyiqa_niqe
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.mark.parametrize('metric', ['lpips', 'dists', 'brisque'])
def test_a_metric_with_a_network_measures_on_the_device(astronaut, made_up, metric):
    reference = np.ascontiguousarray(astronaut[40:104, 160:240, ::-1])
    result = cv2.GaussianBlur(reference, (5, 5), 1.2)
    measure = METRIC_REGISTRY.get(f'calculate_{metric}')
    found, expected = on_both(lambda device: measure(result, reference, device=device.type))
    assert np.isfinite(expected)
    assert found == pytest.approx(expected, rel=1e-4), 'NaN where devices were mixed'


def test_niqe_of_pyiqa_which_needs_float64_keeps_off_the_device_that_has_none(astronaut, made_up, monkeypatch):
    photo = np.ascontiguousarray(astronaut[:96, 100:292, ::-1])
    measure = METRIC_REGISTRY.get('calculate_niqe_pyiqa')
    expected = measure(photo, device='cpu')
    monkeypatch.setattr(niqe_metric, 'pick_device', lambda device: torch.device('mps'))
    assert np.isfinite(expected)
    assert measure(photo) == expected
