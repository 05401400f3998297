"""The inner loop alone, what it refuses, and the small helpers around it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metaf2n_arch.meta import Params, adapt, functional, meta_gradient, select, step_weights
from metaf2n_arch.utils.checks import OptionError


def photo_task(photo: Tensor) -> tuple[nn.Module, Tensor, Tensor]:
    from basicsr.archs.srvgg_arch import SRVGGNetCompact

    torch.manual_seed(0)
    net = SRVGGNetCompact(num_feat=8, num_conv=2, act_type='leakyrelu')
    face = photo[..., 60:124, 200:264]
    return net, F.interpolate(face, scale_factor=0.25, mode='area'), face


def test_adaptation_is_plain_gradient_descent(astronaut_tensor: Tensor) -> None:
    net, low, high = photo_task(astronaut_tensor)
    call, phi = functional(net), {'confidence': torch.rand(1, 1, 64, 64)}

    def loss(theta: Params, phi: Params) -> Tensor:
        return (phi['confidence'] * (high - call(theta, low)).abs()).mean()

    found = adapt(dict(net.named_parameters()), phi, loss, inner_lr=1e-2, inner_steps=3)

    own = copy.deepcopy(net)
    optimizer, losses = torch.optim.SGD(own.parameters(), lr=1e-2), []
    for _ in range(3):
        optimizer.zero_grad()
        value = (phi['confidence'] * (high - own(low)).abs()).mean()
        value.backward()
        losses.append(value.detach())
        optimizer.step()
    for name, p in own.named_parameters():
        torch.testing.assert_close(found.fast_params[name], p.detach())
    torch.testing.assert_close(found.inner_losses, losses)
    assert found.finite


@pytest.mark.parametrize('grad_mode', [torch.no_grad, torch.enable_grad])
def test_the_network_is_never_changed_and_no_graph_is_left(astronaut_tensor: Tensor, grad_mode) -> None:
    net, low, high = photo_task(astronaut_tensor)
    net.append = nn.BatchNorm2d(3)  # never called; its buffers must survive as well
    theta, call = dict(net.named_parameters()), functional(net)
    before, versions = copy.deepcopy(net.state_dict()), {name: p._version for name, p in theta.items()}
    names = [name for name in theta if not name.startswith('append')]

    def loss(theta: Params, phi: Params) -> Tensor:
        return (high - call(theta, low)).abs().mean()

    with grad_mode():
        adaptation = adapt(theta, {}, loss, inner_lr=1e-2, inner_steps=2, adapt_only=names)
        gradient = meta_gradient(theta, {}, loss, lambda t, p, k: loss(t, p), inner_lr=1e-2, adapt_only=names)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(p._version == versions[name] and p.grad is None and p.requires_grad for name, p in theta.items())
    left = [*adaptation.fast_params.values(), *adaptation.inner_losses, *gradient.theta.values()]
    assert not any(t.requires_grad for t in [*left, *gradient.outer_losses, *gradient.fast_params.values()])
    assert not torch.equal(adaptation.fast_params['body.0.weight'], before['body.0.weight'])


def test_a_rate_of_zero_stands_still_and_rates_act_by_tensor() -> None:
    theta = {'a': torch.tensor(2.0), 'b': torch.tensor([1.0, 1.0])}
    rates = {'a': torch.tensor(0.0), 'b': torch.tensor([0.5, 0.25])}
    found = adapt(theta, {}, lambda t, p: t['a'] + t['b'].sum(), inner_lr=rates).fast_params
    assert torch.equal(found['a'], torch.tensor(2.0))
    assert torch.equal(found['b'], torch.tensor([0.5, 0.75]))


def test_functional_reads_buffers_and_never_writes_them() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.utils.spectral_norm(nn.Conv2d(4, 2, 1))).train()
    before, x = copy.deepcopy(net.state_dict()), torch.rand(2, 3, 8, 8)
    call = functional(net)
    first, second = call(dict(net.named_parameters()), x), call({}, x)
    assert torch.equal(first, second)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    torch.testing.assert_close(first, net(x))
    assert not torch.equal(net[1].running_mean, before['1.running_mean'])


def test_functional_lays_images_out_as_asked() -> None:
    net = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    x = torch.rand(2, 3, 8, 8)
    output = functional(net, torch.channels_last)({}, x)
    assert output.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(output, net(x))


@pytest.mark.parametrize('where', ['inner', 'outer'])
def test_a_loss_that_is_not_finite_shows(where: str) -> None:
    theta = {'w': torch.tensor([1.0, 2.0])}

    def bad(t: Params, *rest: object) -> Tensor:
        return (t['w'] - 1).sqrt().sum() * float('nan')

    def good(t: Params, *rest: object) -> Tensor:
        return t['w'].square().sum()

    losses = (bad, good) if where == 'inner' else (good, bad)
    found = meta_gradient(theta, {}, *losses, inner_lr=0.1)
    assert not found.finite
    assert torch.equal(theta['w'], torch.tensor([1.0, 2.0]))
    assert meta_gradient(theta, {}, good, good, inner_lr=0.1).finite
    assert adapt(theta, {}, losses[0], inner_lr=0.1).finite == (where == 'outer')


def test_an_infinite_gradient_of_a_finite_loss_shows() -> None:
    found = meta_gradient(
        {'w': torch.tensor([0.0])},
        {},
        lambda t, p: 0 * t['w'].sum(),
        lambda t, p, k: t['w'].sqrt().sum(),
        inner_lr=0.1,
        mode='first',
    )
    assert torch.isfinite(found.outer_losses[0])
    assert not found.finite


def test_select_takes_in_and_leaves_out_by_pattern() -> None:
    names = ['conv_first.weight', 'body.0.weight', 'body.0.bias', 'body.1.weight', 'conv_last.bias']
    assert select(names, None) == names
    assert select(names, 'body.*') == ['body.0.weight', 'body.0.bias', 'body.1.weight']
    assert select(names, ['!*.bias']) == ['conv_first.weight', 'body.0.weight', 'body.1.weight']
    assert select(names, ['body.*', '!body.1.*', 'conv_last.bias']) == [
        'body.0.weight',
        'body.0.bias',
        'conv_last.bias',
    ]
    with pytest.raises(OptionError, match="Did you mean 'conv_first"):
        select(names, ['conv_frist.weight'])
    with pytest.raises(OptionError, match='no name'):
        select(names, ['body.*', '!*'])


@pytest.mark.parametrize('steps', [1, 2, 5])
def test_step_weights_sum_to_one_and_move_from_uniform_to_the_last(steps: int) -> None:
    assert step_weights(steps, 0, 10) == pytest.approx([1 / steps] * steps)
    assert step_weights(steps, 10, 10) == step_weights(steps, 99, 10) == (0.0,) * (steps - 1) + (1.0,)
    earlier = 0.0
    for iteration in range(12):
        weights = step_weights(steps, iteration, 10, min_weight=0.03 / steps)
        assert sum(weights) == pytest.approx(1)
        assert min(weights) >= 0.03 / steps * (1 - 1e-12)
        assert weights[-1] >= earlier
        earlier = weights[-1]


def test_wrong_arguments_are_named_and_the_remedy_given() -> None:
    theta = {'conv.weight': torch.tensor(1.0), 'conv.bias': torch.tensor(1.0)}

    def loss(t: Params, *rest: object) -> Tensor:
        return t['conv.weight'] ** 2

    wrong = [
        ({'mode': 'seconds'}, "Did you mean 'second'"),
        ({'curvature': 'backward'}, 'curvature'),
        ({'inner_steps': 0}, 'at least 1'),
        ({'adapt_only': ['conv.wieght']}, "Did you mean 'conv.weight'"),
        ({'adapt_only': 'conv.wieght'}, "Did you mean 'conv.weight'"),
        ({'adapt_only': []}, 'empty'),
        ({'adapt_only': ['conv.bias']}, 'does not depend on the adapted'),
        ({'step_weights': (0.5, 0.5)}, 'one for each of 1'),
        ({'step_weights': (0.0,)}, 'all zero'),
        ({'inner_lr': {'conv.bias': torch.tensor(0.1)}}, "no rate for 'conv.weight'"),
    ]
    for options, message in wrong:
        with pytest.raises(ValueError, match=message):
            meta_gradient(theta, {}, loss, loss, **{'inner_lr': 0.1, **options})
    with pytest.raises(ValueError, match='it has no gradient'):
        meta_gradient(theta, {}, loss, lambda t, p, k: torch.tensor(1.0), inner_lr=0.1)
    with pytest.raises(ValueError, match='list of losses is empty'):
        adapt(theta, {}, [], inner_lr=0.1)
    with pytest.raises(ValueError, match='no_grad'), torch.inference_mode():
        adapt(theta, {}, loss, inner_lr=0.1)
