"""Networks of spandrel from the first iteration to a restored photo: trained, resumed, recognised, adapted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from small_training import SCALE, Training, assert_bitwise_equal, options

from metaf2n_arch.archs.spandrel_networks import build_spandrel
from metaf2n_arch.meta.inner import adapt
from metaf2n_arch.meta.params import functional
from metaf2n_arch.weights.loading import load_generator, load_mask_net

SPAN: dict[str, Any] = {'arch': 'SPAN', 'num_in_ch': 3, 'num_out_ch': 3, 'feature_channels': 8, 'upscale': SCALE}
OTHERS: list[dict[str, Any]] = [
    SPAN,
    {'arch': 'RealPLKSR', 'dim': 16, 'n_blocks': 1, 'kernel_size': 7, 'upscaling_factor': SCALE},
    {
        'arch': 'SwinIR',
        'embed_dim': 16,
        'depths': [2],
        'num_heads': [2],
        'window_size': 8,
        'upscale': SCALE,
        'upsampler': 'pixelshuffle',
    },
]


def with_network(opt: dict[str, Any], network: dict[str, Any], iterations: int) -> dict[str, Any]:
    opt['network_g'] = {'type': 'Spandrel', **network}
    opt['train']['total_iter'] = iterations
    opt['val']['val_freq'] = 100
    return opt


def as_gan(opt: dict[str, Any], photos: Path) -> dict[str, Any]:
    """The same images for `GANSRModel`, as pairs."""
    del opt['meta'], opt['face'], opt['network_m']
    opt['model_type'] = 'GANSRModel'
    opt['train']['losses'] = opt['train']['losses'][:2]
    pairs = {'type': 'PairedImageDataset', 'io_backend': {'type': 'disk'}}
    pairs |= {'dataroot_gt': str(photos / 'val' / 'GT'), 'dataroot_lq': str(photos / 'val' / 'LQ')}
    loading = {'batch_size_per_gpu': 2, 'num_worker_per_gpu': 0, 'gt_size': 32, 'use_hflip': True, 'use_rot': True}
    opt['datasets'] = {'train': {'name': 'pairs', **pairs, **loading}, 'val': {'name': 'photos', **pairs}}
    return opt


def trained(folder: Path, opt: dict[str, Any], labels: str) -> Training:
    """Trains whole and in two parts, holds that the bits are the same, and returns the run of two parts."""
    whole = Training(folder / 'whole', opt).finish()
    opt['train']['total_iter'] //= 2
    Training(folder / 'run', opt).finish()
    opt['train']['total_iter'] *= 2
    resumed = Training(folder / 'run', opt, '--auto_resume').finish()
    for label in labels:
        contents = [
            torch.load(run.experiment / 'models' / f'net_{label}_latest.pth', weights_only=True)['params']
            for run in (whole, resumed)
        ]
        assert_bitwise_equal(*contents)
    return resumed


def assert_adapts(run: Training, network: dict[str, Any], photos: Path) -> None:
    """Without being told what the file holds, the restorer adapts the very network that was trained."""
    weights = run.experiment / 'models' / 'net_g_latest.pth'
    mask = load_mask_net(run.experiment / 'models' / 'net_m_latest.pth')
    nets = [load_generator(weights).net, load_generator(weights, {'type': 'Spandrel', **network}).net]
    built = build_spandrel(**network)
    built.load_state_dict(torch.load(weights, weights_only=True)['params_ema'])
    lq, hq = (
        torch.from_numpy(cv2.imread(str(photos / 'val' / name / '0_0.png'))[..., ::-1].copy().astype(np.float32))
        for name in ('Face_LQ', 'Face_HQ')
    )
    lq, hq = (x.permute(2, 0, 1)[None] / 255 for x in (lq, hq))
    outputs = []
    for net in (*nets, built.eval()):
        call = functional(net)
        theta = {name: p.detach() for name, p in net.named_parameters()}

        def loss(theta: Any, _: Any, call: Any = call) -> torch.Tensor:
            return (mask(lq, hq) * (hq - call(theta, lq)).abs()).mean()

        fast = adapt(theta, {}, loss, inner_lr=0.05, inner_steps=1).fast_params
        with torch.no_grad():
            outputs.append(call(fast, lq))
            assert not torch.equal(outputs[-1], net(lq)), 'adapting moved it'
    torch.testing.assert_close(outputs[0], outputs[2], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(outputs[1], outputs[2], rtol=1e-5, atol=1e-6)


def test_a_network_of_spandrel_is_meta_trained_resumed_recognised_and_adapted(tmp_path, photos):
    run = trained(tmp_path, with_network(options(photos), SPAN, 4), 'gdm')
    assert_adapts(run, SPAN, photos)


@pytest.mark.slow
@pytest.mark.parametrize('network', OTHERS[1:], ids=lambda network: network['arch'])
def test_others_too(tmp_path, photos, network):
    assert_adapts(trained(tmp_path, with_network(options(photos), network, 4), 'gdm'), network, photos)


@pytest.mark.slow
@pytest.mark.parametrize('network', OTHERS, ids=lambda network: network['arch'])
def test_a_gan_is_trained_resumed_and_goes_on_from_published_weights(tmp_path, photos, network):
    """``pretrain_network_g`` takes a file of spandrel's own names, whatever key it lies under."""
    torch.manual_seed(3)
    published = build_spandrel(**network).state_dict()
    torch.save({'params_ema': published}, tmp_path / 'published.pth')
    opt = as_gan(with_network(options(photos), network, 4), photos)
    opt['path']['pretrain_network_g'] = str(tmp_path / 'published.pth')
    opt['path']['param_key_g'] = 'params_ema'
    run = trained(tmp_path, opt, 'gd')
    found = torch.load(run.experiment / 'models' / 'net_g_2.pth', weights_only=True)['params']
    assert found.keys() == published.keys()
    moved = max(float((found[name] - published[name]).abs().max()) for name in found if found[name].is_floating_point())
    assert 0 < moved <= 0.021, 'two steps of Adam at 0.01 from the published weights'


@pytest.mark.slow
def test_a_model_of_the_host_trains_it_and_resumes(tmp_path, tiny):
    tiny['name'] = 'small'
    tiny['network_g'] = {'type': 'Spandrel', **SPAN}
    tiny['logger']['use_tb_logger'] = False
    run = trained(tmp_path, tiny, 'g')
    assert 'psnr' in run.said
