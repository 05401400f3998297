"""MetaF2NModel against a graph unrolled by hand, and what it promises about the weights it is given."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from basicsr.models import build_model
from counting import Counted
from small_model import SCALE, options, photo
from torch.func import functional_call

from metaf2n_arch.degradation import DegradationParams, apply
from metaf2n_arch.models.outer_loss import OuterLoss
from metaf2n_arch.utils.checks import DataError, OptionError


def unrolled_gradients(model: Any, batch: dict[str, Any], mode: str) -> tuple[dict[str, torch.Tensor], ...]:
    """Gradients for θ, φ and the discriminator by one graph through both loops, written out for one inner step."""
    theta, phi = dict(model.net_g.named_parameters()), dict(model.net_m.named_parameters())
    total, judged = 0, 0
    for b in range(2):
        draw = DegradationParams.from_tensors({k: v[b] for k, v in batch['degradation'].items()})
        face, gt = batch['face'][b], batch['gt'][b]
        face_lq, lq = apply(face, draw), apply(gt, draw, stream=1)
        boxes = batch['face_crop'][b].tolist()
        hq = torch.stack([f[:, y : y + h, x : x + w] for f, (y, x, h, w) in zip(face, boxes)])
        small = [[v // SCALE for v in box] for box in boxes]
        support = torch.stack([f[:, y : y + h, x : x + w] for f, (y, x, h, w) in zip(face_lq, small)])
        mask = functional_call(model.net_m, phi, (support, hq))
        inner = (mask * (hq - functional_call(model.net_g, theta, (support,))).abs()).mean()
        grads = torch.autograd.grad(inner, list(theta.values()), create_graph=True)
        if mode == 'first':
            grads = [g.detach() for g in grads]
        fast = {n: p - 0.05 * g for (n, p), g in zip(theta.items(), grads)}
        out = functional_call(model.net_g, fast, (lq,))
        model.net_d.eval()
        logits = model.net_d(out)
        gan = F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))
        total = total + ((out - gt).abs().mean() + 0.1 * gan + 0.02 * ((mask - 1) ** 2).mean() / 2) / 2
        for images, real in ((out.detach(), 0.0), (gt, 1.0)):
            logits = model.net_d(images)
            judged = judged + F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, real)) / 2
    g_theta = torch.autograd.grad(total, list(theta.values()), retain_graph=True)
    g_phi = torch.autograd.grad(total, list(phi.values()))
    psi = dict(model.net_d.named_parameters())
    return dict(zip(theta, g_theta)), dict(zip(phi, g_phi)), dict(zip(psi, torch.autograd.grad(judged, psi.values())))


@pytest.mark.parametrize('mode', ['first', 'second'])
def test_the_gradients_of_a_step_are_those_of_the_unrolled_graph(tmp_path, batch, mode):
    torch.manual_seed(0)
    model = build_model(options(tmp_path, meta={'inner_lr': 0.05, 'mode': mode}))
    model.feed_data(batch)
    with Counted() as ours:
        model.compute_gradients(1)
    with Counted() as theirs:
        unrolled = unrolled_gradients(model, batch, mode)
    assert ours.flops <= 1.02 * theirs.flops
    for net, expected in zip((model.net_g, model.net_m, model.net_d), unrolled):
        for name, p in net.named_parameters():
            error = (p.grad - expected[name]).norm() / expected[name].norm().clamp(min=1e-8)
            assert error < 2e-4, name


def test_first_mask_keeps_the_mask_gradient_of_second_and_the_generator_gradient_of_first(tmp_path, batch):
    grads = {}
    for mode in ('first', 'first_mask', 'second'):
        torch.manual_seed(0)
        model = build_model(options(tmp_path, meta={'inner_lr': 0.05, 'mode': mode}))
        model.feed_data(batch)
        model.compute_gradients(1)
        grads[mode] = [torch.cat([p.grad.flatten() for p in net.parameters()]) for net in (model.net_g, model.net_m)]
    torch.testing.assert_close(grads['first_mask'][0], grads['first'][0])
    torch.testing.assert_close(grads['first_mask'][1], grads['second'][1])
    assert (grads['first'][1] - grads['second'][1]).norm() > 1e-3 * grads['second'][1].norm()


def test_the_unadapted_weight_adds_the_gradient_of_the_loss_without_adaptation(tmp_path, batch):
    grads = []
    for meta in ({'inner_lr': 0.05}, {'inner_lr': 0.05, 'unadapted_weight': 0.5}, {'inner_lr': 0.0, 'mode': 'first'}):
        torch.manual_seed(0)
        model = build_model(options(tmp_path, meta=meta))
        model.feed_data(batch)
        model.compute_gradients(1)
        grads.append(torch.cat([p.grad.flatten() for p in model.net_g.parameters()]))
    torch.testing.assert_close(grads[1], grads[0] + 0.5 * grads[2], rtol=1e-4, atol=1e-6)


def test_nothing_is_added_while_only_the_regulariser_counts(tmp_path, batch):
    torch.manual_seed(0)
    opt = options(tmp_path, meta={'inner_lr': 0.05, 'unadapted_weight': 0.5})
    opt['train']['losses'] = [{'type': 'MaskRegularizerLoss'}, {'type': 'L1Loss', 'start_iter': 5}]
    model = build_model(opt)
    model.feed_data(batch)
    model.compute_gradients(1)
    assert all(not p.grad.any() for p in model.net_g.parameters())
    assert any(p.grad.any() for p in model.net_m.parameters())


def test_an_image_without_an_edge_teaches_nothing_and_stops_nothing(tmp_path, batch):
    torch.manual_seed(0)
    opt = options(tmp_path)
    opt['train']['losses'] = [{'type': 'SSLLoss', 'search_size': 9, 'patch_size': 3}]
    del opt['network_d'], opt['train']['optim_d']
    model = build_model(opt)
    batch['gt'][:, 0] = 0.5
    model.feed_data(batch)
    model.compute_gradients(1)
    assert any(p.grad.any() for p in model.net_g.parameters())


@pytest.mark.parametrize(
    ('losses', 'terms'),
    [
        ([{'type': 'SSLLoss', 'loss_weight': 100, 'search_size': 9, 'patch_size': 3}, {'type': 'GANLoss'}], 2),
        ([{'type': 'L1Loss'}, {'type': 'RelativisticGANLoss', 'kind': 'RaGAN', 'loss_weight': 0.1}], 1),
        ([{'type': 'MaskRegularizerLoss'}, {'type': 'L1Loss', 'start_iter': 5}], 1),
    ],
)
def test_the_outer_loss_is_taken_image_by_image_where_that_is_the_same(tmp_path, batch, losses, terms):
    losses = [{'gan_type': 'vanilla', 'loss_weight': 0.1, **e} if e['type'] == 'GANLoss' else e for e in losses]
    torch.manual_seed(0)
    opt = options(tmp_path)
    opt['train']['losses'] = losses
    model = build_model(opt)
    model.feed_data(batch)
    task = next(iter(model.tasks))
    outer = OuterLoss(model, task, 1)
    assert len(outer.terms) == terms
    theta = dict(model.net_g.named_parameters())
    trust = {'confidence': model.net_m(task.support_lq, task.support_hq).detach()}
    found = torch.stack([term(theta, trust, 1) for term in outer.terms]).sum()
    data = {'gt': task.query_gt, 'lq': task.query_lq, **trust}
    expected, values = model.losses.generator(model.net_g(task.query_lq), data, model.critic, 1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    for name, value in values.items():
        torch.testing.assert_close(outer.values[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('meta', [{'keep_graph': False}, {'curvature': 'reverse'}, {'checkpointing': True}])
def test_switches_of_time_and_memory_leave_the_gradient_alone(tmp_path, batch, meta):
    grads = []
    for switches in ({}, meta):
        torch.manual_seed(0)
        model = build_model(options(tmp_path, meta={'inner_lr': 0.05, **switches}))
        model.feed_data(batch)
        model.compute_gradients(1)
        grads.append(torch.cat([p.grad.flatten() for net in (model.net_g, model.net_m) for p in net.parameters()]))
    error = (grads[0] - grads[1]).norm() / grads[0].norm()
    assert error < 1e-4


def test_an_iteration_moves_all_networks_and_logs_both_sides_of_the_adaptation(tmp_path, batch):
    torch.manual_seed(0)
    opt = options(tmp_path)
    opt['train']['ema_decay'] = 0.9
    model = build_model(opt)
    before = {k: deepcopy(n.state_dict()) for k, n in (('g', model.net_g), ('m', model.net_m), ('d', model.net_d))}
    model.feed_data(batch)
    model.optimize_parameters(1)
    for label, net in (('g', model.net_g), ('m', model.net_m), ('d', model.net_d)):
        moved = [k for k, v in net.state_dict().items() if not torch.equal(v, before[label][k])]
        assert moved, label
    for name, average in model.net_g_ema.state_dict().items():
        torch.testing.assert_close(average, 0.9 * before['g'][name] + 0.1 * model.net_g.state_dict()[name])
    log = model.get_current_log()
    assert {'l_g_total', 'l_g_total_unadapted', 'l_inner', 'l_inner_adapted', 'l_g_gan', 'l_d_gan'} <= log.keys()
    assert log['l_inner_adapted'] < log['l_inner']


def test_a_step_that_overflows_changes_no_weight_and_no_average(tmp_path, batch):
    opt = options(tmp_path, meta={'inner_lr': 1e38})  # the adapted weights overflow
    opt['train']['ema_decay'] = 0.9
    model = build_model(opt)
    before = deepcopy({**model.net_g.state_dict(), **model.net_m.state_dict()})
    model.feed_data(batch)
    model.optimize_parameters(1)
    after = {**model.net_g.state_dict(), **model.net_m.state_dict()}
    assert all(torch.equal(after[k], before[k]) for k in before)
    assert all(torch.isfinite(p).all() for p in model.net_g_ema.parameters())
    assert model.get_current_log()['skipped_steps'] >= 1


def test_restoring_a_photo_adapts_and_leaves_the_weights_alone(tmp_path, astronaut_tensor):
    torch.manual_seed(0)
    model = build_model(options(tmp_path, is_train=False, face={'patches': 4, 'patch_size': 32}))
    before = deepcopy(model.net_g.state_dict())
    model.feed_data(photo(astronaut_tensor, with_face=True))
    model.test()
    first = model.get_current_visuals()
    assert all(torch.equal(v, before[k]) for k, v in model.net_g.state_dict().items())
    assert not torch.equal(first['result'], first['unadapted'])
    model.feed_data(photo(astronaut_tensor, with_face=True))
    model.test()
    assert torch.equal(first['result'], model.get_current_visuals()['result'])  # the same photo, the same result


def test_a_photo_without_a_face_is_restored_unadapted_and_counted(tmp_path, astronaut_tensor):
    model = build_model(options(tmp_path, is_train=False))
    model.start_validation()
    model.feed_data(photo(astronaut_tensor, with_face=False))
    model.test()
    visuals = model.get_current_visuals()
    with torch.no_grad():
        expected = model.net_g(visuals['lq'])
    assert torch.equal(visuals['result'], expected)
    assert model.validation_notes() == {'images': 1, 'images without faces, restored unadapted': 1}


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'meta': {'iner_lr': 0.1}}, r"meta\.iner_lr: unknown key.*'inner_lr'"),
        ({'meta': {'mode': 'third'}}, r"meta\.mode is 'third'"),
        ({'network_m': None}, 'network_m: missing'),
        ({'num_gpu': 2}, 'torchrun'),
        ({'meta': {'adapt_only': ['conv_*']}}, 'conv_'),
        ({'network_g': {'type': 'VGGStyleDiscriminator', 'num_in_ch': 3, 'num_feat': 8}}, 'batch normalisation'),
    ],
)
def test_a_wrong_option_is_one_clear_error(tmp_path, changes, message):
    with pytest.raises(OptionError, match=message):
        build_model(options(tmp_path, **changes))


def test_another_models_data_is_one_clear_error(tmp_path, batch, astronaut_tensor):
    images = {'gt': batch['gt'][0], 'degradation': batch['degradation']}
    model = build_model(options(tmp_path))
    with pytest.raises(DataError, match='MetaF2NDataset'):
        model.feed_data(images)
    model.feed_data(batch)
    model.feed_data(photo(astronaut_tensor, with_face=True))  # as a validation does, and pairs of images would
    with pytest.raises(DataError, match='MetaF2NDataset'):
        model.optimize_parameters(1)
    opt = {**options(tmp_path), 'model_type': 'GANSRModel', 'network_m': None, 'meta': None}
    opt['train']['losses'].pop()
    with pytest.raises(DataError, match='DegradationDataset'):
        build_model(opt).feed_data(batch)


def test_tensorboard_gets_a_grid_with_the_confidence_of_a_face(tmp_path, astronaut_tensor):
    model = build_model(options(tmp_path, is_train=False, face={'patches': 4, 'patch_size': 32}))
    widths = []
    for with_face in (True, False):
        model.feed_data(photo(astronaut_tensor, with_face))
        model.test()
        widths.append(model.grid_of(model.get_current_visuals()).shape[-1])
    face = 128  # a square face, brought to the height of the photo
    assert widths[0] - widths[1] == face + 4
