"""Spectral norms move when asked and only then; the reference is one power iteration written out."""

import pytest
import torch
from torch import nn
from torch.nn.utils import spectral_norm
from torch.nn.utils.parametrizations import spectral_norm as parametrized_spectral_norm

from metaf2n_arch.utils.spectral_norm import advance_power_iteration, power_iteration


@pytest.fixture(params=[spectral_norm, parametrized_spectral_norm], ids=['hook', 'parametrization'])
def net(request) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(request.param(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4)).train()


def left_vector(net: nn.Module) -> torch.Tensor:
    return next(buffer for name, buffer in net.named_buffers() if name.endswith('_u')).clone()


def original_weight(net: nn.Module) -> torch.Tensor:
    names = ('0.weight_orig', '0.parametrizations.weight.original')
    return next(p for name, p in net.named_parameters() if name in names).detach().flatten(1)


def test_forwards_inside_the_block_leave_the_vectors_alone(net):
    before = left_vector(net)
    with power_iteration(net, enabled=False):
        net(torch.rand(2, 3, 8, 8))
    torch.testing.assert_close(left_vector(net), before, rtol=0, atol=0)
    assert net[0].training
    assert net[1].num_batches_tracked == 1  # batch normalisation stayed in training mode


def test_advance_is_one_power_iteration(net):
    weight, u = original_weight(net), left_vector(net)
    v = nn.functional.normalize(weight.T @ u, dim=0)
    expected = nn.functional.normalize(weight @ v, dim=0)
    advance_power_iteration(net)
    torch.testing.assert_close(left_vector(net), expected)
