"""Learned inner rates: their gradient against finite differences, what is saved, what test time uses."""

from __future__ import annotations

import pytest
import torch
from basicsr.models import build_model
from small_model import options, photo

from metaf2n_arch.utils.checks import DataError, OptionError

LEARNED = {'inner_lr': 'learned', 'inner_lr_start': 0.05}


def outer_loss(model, data) -> float:
    model.feed_data(data)
    values = model.compute_gradients(1)
    return float(values['l_g_total'])


def test_the_gradient_of_a_rate_is_that_of_finite_differences(tmp_path, batch):
    torch.manual_seed(0)
    model = build_model(options(tmp_path, meta=LEARNED))
    outer_loss(model, batch)
    rates = model.rates.by_name()
    assert rates.keys() == set(model.adapt_only)
    name = max(rates, key=lambda n: abs(rates[n].grad.item()))
    gradient, step = rates[name].grad.item(), 0.02
    losses = []
    for sign in (1, -1):
        with torch.no_grad():
            rates[name] += sign * step
        losses.append(outer_loss(model, batch))
        with torch.no_grad():
            rates[name] -= sign * step
    assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(gradient, rel=0.02)


def test_equal_rates_give_the_step_of_the_number(tmp_path, batch):
    grads = []
    for meta in (LEARNED, {'inner_lr': 0.05}):
        torch.manual_seed(0)
        model = build_model(options(tmp_path, meta=meta))
        outer_loss(model, batch)
        grads.append(torch.cat([p.grad.flatten() for p in model.net_g.parameters()]))
    torch.testing.assert_close(grads[0], grads[1])


def test_rates_are_trained_saved_with_the_generator_and_used_at_test_time(tmp_path, batch, astronaut_tensor):
    torch.manual_seed(0)
    model = build_model(options(tmp_path, meta=LEARNED))
    model.feed_data(batch)
    model.optimize_parameters(1)
    assert any(rate.item() != pytest.approx(0.05) for rate in model.rates.parameters())
    assert model.get_current_log()['inner_lr_mean'] == pytest.approx(0.05, rel=0.2)
    model.save(0, 1)

    paths = {'pretrain_network_g': str(tmp_path / 'net_g_1.pth'), 'pretrain_network_m': str(tmp_path / 'net_m_1.pth')}
    opt = options(tmp_path, is_train=False, meta=LEARNED, face={'patches': 4, 'patch_size': 32})
    opt['path'].update(paths)
    restored = build_model(opt)
    for name, rate in restored.rates.by_name().items():
        assert torch.equal(rate, model.rates.by_name()[name])
    restored.feed_data(photo(astronaut_tensor, with_face=True))
    with torch.no_grad():
        for rate in restored.rates.parameters():
            rate.zero_()
    restored.test()
    assert torch.equal(restored.output, restored.unadapted), 'rates of zero adapt nothing'


def test_a_checkpoint_without_rates_is_named_at_test_time(tmp_path):
    model = build_model(options(tmp_path))
    model.save(0, 1)
    opt = options(tmp_path, is_train=False, meta=LEARNED)
    opt['path']['pretrain_network_g'] = str(tmp_path / 'net_g_1.pth')
    with pytest.raises(DataError, match=r'net_g_1\.pth: holds no learned inner rates; set meta\.inner_lr to a number'):
        build_model(opt)


def test_a_rate_that_is_neither_a_number_nor_learned_is_named(tmp_path):
    with pytest.raises(OptionError, match=r'meta\.inner_lr'):
        build_model(options(tmp_path, meta={'inner_lr': 'learnt'}))
