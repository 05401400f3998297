"""The block ``color_fix`` of our models: validation, test and training against the function itself."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from small_model import options, photo

from metaf2n_arch.functional.low_frequency import drift, low_frequency_fix, wavelet_fix
from metaf2n_arch.models.gan_sr_model import GANSRModel
from metaf2n_arch.models.metaf2n_model import MetaF2NModel
from metaf2n_arch.utils.checks import OptionError

FIXES = {'lowfreq': low_frequency_fix, 'wavelet': wavelet_fix}


def model(cls, folder, **changes):
    torch.manual_seed(0)
    return cls(options(folder, **changes))


@pytest.mark.parametrize('cls', [GANSRModel, MetaF2NModel])
@pytest.mark.parametrize('kind', ['lowfreq', 'wavelet'])
def test_a_tested_image_is_that_of_the_network_with_its_tones_put_right(cls, kind, tmp_path, astronaut_tensor):
    item = photo(astronaut_tensor, with_face=False)
    results = []
    for block in ({}, {'color_fix': {'type': kind}}):
        made = model(cls, tmp_path, model_type=cls.__name__, **block)
        made.feed_data(item)
        made.test()
        results.append(made.output)
    assert torch.allclose(results[1], FIXES[kind](results[0], item['lq']), atol=1e-6)
    assert drift(results[1], item['lq']) < drift(results[0], item['lq']) / 2


def test_in_training_the_loss_sees_the_fixed_image(tmp_path, astronaut_tensor):
    gt = astronaut_tensor[:, :, :64, :64]
    data = {'gt': gt, 'lq': F.interpolate(gt, scale_factor=0.25, mode='area')}
    block = {'color_fix': {'type': 'lowfreq', 'sigma': 2, 'in_training': True}}
    losses = [{'type': 'L1Loss', 'target': 'gt'}]
    train = {**options(tmp_path)['train'], 'losses': losses}
    made = model(GANSRModel, tmp_path, model_type='GANSRModel', train=train, **block)
    made.feed_data(data)
    expected = (low_frequency_fix(made.net_g(data['lq']), data['lq'], 2.0) - gt).abs().mean()
    by_hand = torch.autograd.grad(expected, list(made.net_g.parameters()))
    made.optimizer_g.zero_grad()
    assert made.compute_gradients(1)['l_g_total'].item() == pytest.approx(expected.item(), rel=1e-5)
    for p, g in zip(made.net_g.parameters(), by_hand):
        assert torch.allclose(p.grad, g, atol=1e-6)
    record = made.training_record(1)
    assert (record.color_fix, record.color_fix_sigma) == ('lowfreq', 2)
    outside = {'color_fix': {'type': 'lowfreq', 'sigma': 2}}
    train = {**options(tmp_path)['train'], 'losses': [{'type': 'L1Loss', 'target': 'gt'}]}
    record = model(GANSRModel, tmp_path, model_type='GANSRModel', train=train, **outside).training_record(1)
    assert (record.color_fix, record.color_fix_sigma) == (None, None)


@pytest.mark.parametrize('mode', ['first', 'second'])
def test_the_meta_gradient_passes_through_the_fix_by_both_routes(mode, tmp_path, astronaut_tensor):
    crops = [astronaut_tensor[:, :, i : i + 64, 150:214] for i in (0, 60, 120, 180)]
    lqs = [F.interpolate(crop, scale_factor=0.25, mode='area') for crop in crops]
    support = {'support_lq': lqs[0], 'support_hq': crops[0], 'query_lq': lqs[1], 'query_gt': crops[1]}
    found = {}
    for curvature in ('forward', 'reverse'):
        from metaf2n_arch.models.tasks import Task

        block = {'color_fix': {'type': 'lowfreq', 'in_training': True}}
        meta = {'inner_lr': 0.05, 'mode': mode, 'curvature': curvature}
        made = model(MetaF2NModel, tmp_path, meta=meta, **block)
        made.tasks, made.num_tasks = [Task(**support)], 1
        made.optimizer_d.zero_grad()
        made.compute_gradients(1)
        found[curvature] = [p.grad.clone() for p in made.net_g.parameters()]
    for a, b in zip(*found.values()):
        assert a.abs().max() > 0
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-6)


def test_auto_is_for_test_time_and_may_leave_a_photo_unadapted(tmp_path, astronaut_tensor):
    with pytest.raises(OptionError, match='auto, which is for test time'):
        model(MetaF2NModel, tmp_path, meta={'inner_lr': 'auto'})
    made = model(MetaF2NModel, tmp_path, is_train=False, meta={'inner_lr': 'auto'}, color_fix={'type': 'lowfreq'})
    made.feed_data(photo(astronaut_tensor, with_face=True))
    made.test()
    assert made.output.shape == made.gt.shape
    # A face that is what the network makes of it already leaves nothing to gain.
    lq = made.faces[0][0]
    made.faces = [(lq, made.net_g(lq[None])[0].detach())]
    made.test()
    assert torch.equal(made.output, made.unadapted)


@pytest.mark.parametrize('block', [{'type': 'wavelet', 'sigma': 2}, {'in_training': True}, {'type': 'adain'}])
def test_keys_without_effect_are_refused(block, tmp_path):
    with pytest.raises(OptionError, match='color_fix'):
        model(GANSRModel, tmp_path, model_type='GANSRModel', color_fix=block)
