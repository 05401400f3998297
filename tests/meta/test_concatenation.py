"""Concatenations saved as their parts: the same numbers, less memory, and an error where they would be wrong."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from basicsr.archs.rrdbnet_arch import RRDBNet
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional as F

from metaf2n_arch.meta import functional, meta_gradient
from metaf2n_arch.meta.concatenation import saved_in_parts


def task_gradient(photo: Tensor, curvature: str, **performance: torch.dtype) -> dict[str, Tensor]:
    """What one second-order step through a dense network gives."""
    torch.manual_seed(0)
    net = RRDBNet(3, 3, scale=4, num_feat=8, num_block=2, num_grow_ch=4)
    call = functional(net)
    query, support = photo[..., 60:108, 170:218], photo[..., 80:112, 180:212]

    def l1(theta: dict[str, Tensor], target: Tensor) -> Tensor:
        with torch.autocast('cpu', enabled=bool(performance), **performance):
            output = call(theta, F.interpolate(target, scale_factor=0.25, mode='area'))
        return (output.float() - target).abs().mean()

    return meta_gradient(
        dict(net.named_parameters()),
        {},
        lambda theta, phi: l1(theta, support),
        lambda theta, phi, step: l1(theta, query),
        inner_lr=0.1,
        inner_steps=2,
        keep_graph=curvature == 'kept',
        curvature='reverse' if curvature == 'kept' else curvature,
    ).theta


@pytest.mark.parametrize('performance', [{}, {'dtype': torch.bfloat16}], ids=['float32', 'bfloat16'])
@pytest.mark.parametrize('curvature', ['forward', 'reverse', 'kept'])
def test_second_order_gradients_keep_every_bit(astronaut_tensor, curvature, performance) -> None:
    plain = task_gradient(astronaut_tensor, curvature, **performance)
    with saved_in_parts():
        lean = task_gradient(astronaut_tensor, curvature, **performance)
    assert all(torch.equal(lean[name], g) for name, g in plain.items())


@pytest.mark.parametrize('lean', [False, True])
def test_the_whole_is_forgotten_once_it_has_been_used(lean) -> None:
    a, b = torch.rand(1, 2, 8, 8), torch.rand(1, 3, 8, 8)
    weight = torch.rand(4, 5, 3, 3, requires_grad=True)
    with saved_in_parts() if lean else nullcontext():
        whole = torch.cat([a, b], 1)
        storage = StorageWeakRef(whole.untyped_storage())
        out = F.conv2d(whole, weight)
        del whole
    assert storage.expired() == lean
    expected = torch.autograd.grad(F.conv2d(torch.cat([a, b], 1), weight).square().sum(), weight)[0]
    assert torch.equal(torch.autograd.grad(out.square().sum(), weight)[0], expected)


@pytest.mark.parametrize('function', [torch.sigmoid, torch.exp, lambda x: F.leaky_relu(x, 0.2, inplace=True)])
def test_a_graph_that_no_backward_pass_consumes_goes_with_its_last_user(function) -> None:
    x = torch.rand(4, 4, requires_grad=True)
    with saved_in_parts():
        output = function(x * 2)
        storage = StorageWeakRef(output.untyped_storage())
        del output
    assert storage.expired()


@pytest.mark.parametrize(
    'concatenate',
    [
        lambda x: torch.cat([x, 3 * x], -1),
        lambda x: torch.concat((x, 3 * x), axis=0),
        lambda x: torch.concatenate(tensors=[x], dim=1),
        lambda x: torch.cat([x, x.to(torch.float64)]),
        lambda x: torch.cat([x, 3 * x])[1:],
        lambda x: torch.cat([x, 3 * x]).t(),
        lambda x: torch.cat([x[:2], 3 * x[2:]]).t(),
        lambda x: torch.cat([x[:2] * 1j, 3 * x[2:] + 0j]).conj().square().real,
        lambda x: torch.cat([x, 3 * x]).mul_(2),
        lambda x: torch.cat([torch.cat([x, 2 * x]), 3 * x]),
        lambda x: torch.cat([x.t(), x.exp().t()]),
    ],
    ids=[
        'last',
        'axis',
        'keyword',
        'promoted',
        'view',
        'transposed',
        'transposed square',
        'conjugate',
        'in place',
        'nested',
        'strided',
    ],
)
def test_any_call_has_the_gradients_it_had(concatenate) -> None:
    x = torch.rand(4, 4, requires_grad=True)

    def derivatives() -> tuple[Tensor, ...]:
        (first,) = torch.autograd.grad((concatenate(x) ** 3).sum(), x, create_graph=True)
        return first, *torch.autograd.grad((first**2).sum(), x)

    plain = derivatives()
    with saved_in_parts():
        lean = derivatives()
    assert all(torch.equal(a, b) for a, b in zip(lean, plain))


def test_a_part_changed_in_place_afterwards_is_an_error_and_no_wrong_gradient() -> None:
    x = torch.rand(4, requires_grad=True)
    with saved_in_parts():
        part = x.exp()
        loss = torch.cat([x, part]).square().sum()
        part.detach().mul_(2)
    with pytest.raises(RuntimeError, match='changed in place after it was used'):
        loss.backward()


def test_the_error_autograd_knows_of_is_still_raised() -> None:
    """Hooks pass autograd's own check by."""
    x = torch.rand(4, requires_grad=True)
    with saved_in_parts():
        inner = x * 2
        loss = inner.sin().sum()
        inner.detach().mul_(2)
    with pytest.raises(RuntimeError, match='changed in place'):
        loss.backward()
