"""Switches that change cost and not results: checkpointed blocks, layout, bf16."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from unrolled_reference import relative_difference

from metaf2n_arch.meta import MetaGradient, Params, functional, meta_gradient
from metaf2n_arch.utils.checks import OptionError


def rrdbnet(num_feat: int = 16) -> nn.Module:
    from basicsr.archs.rrdbnet_arch import RRDBNet

    torch.manual_seed(0)
    return RRDBNet(3, 3, scale=4, num_feat=num_feat, num_block=3, num_grow_ch=8)


def gradient(
    net: nn.Module,
    photo: Tensor,
    layout: torch.memory_format | None = None,
    checkpoint: str | None = None,
    bf16: bool = False,
    **options,
) -> MetaGradient:
    face, natural = photo[..., 60:92, 200:232], photo[..., 300:348, 40:88]
    inner_call, outer_call = functional(net, layout), functional(net, layout, checkpoint)
    phi = {'confidence': torch.linspace(0.5, 1.5, 32, dtype=photo.dtype).expand(1, 1, 32, 32).clone()}

    def error(call, theta: Params, image: Tensor) -> Tensor:
        with torch.autocast('cpu', torch.bfloat16, enabled=bf16):
            output = call(theta, F.interpolate(image, scale_factor=0.25, mode='area'))
        return (image - output.to(image.dtype)).abs()

    return meta_gradient(
        dict(net.named_parameters()),
        phi,
        lambda theta, phi: (phi['confidence'] * error(inner_call, theta, face)).mean(),
        lambda theta, phi, step: error(outer_call, theta, natural).mean(),
        inner_lr=1e-2,
        **options,
    )


def saved_bytes(run) -> int:
    """How much autograd keeps for the backward pass, each storage once."""
    storages: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        storages[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        keep = run()
    del keep
    return sum(storages.values())


@pytest.mark.parametrize('pattern', ['body.*', ['body.0', 'body.2', 'conv_hr']])
def test_checkpointed_blocks_change_nothing_but_what_is_kept(astronaut_tensor: Tensor, pattern) -> None:
    net, photo = rrdbnet().double(), astronaut_tensor.double()
    wanted, found = gradient(net, photo), gradient(net, photo, checkpoint=pattern)
    assert relative_difference(found.theta, wanted.theta) < 1e-12
    assert relative_difference(found.phi, wanted.phi) < 1e-12
    assert all('forward' not in module.__dict__ for module in net.modules())


def test_checkpointed_blocks_keep_less_than_half(astronaut_tensor: Tensor) -> None:
    net, x = rrdbnet(), astronaut_tensor[..., :32, :32]
    theta = dict(net.named_parameters())
    plain = saved_bytes(lambda: functional(net)(theta, x))
    assert saved_bytes(lambda: functional(net, checkpoint='body.*')(theta, x)) < plain / 2


def test_a_pattern_that_fits_no_module_is_named() -> None:
    with pytest.raises(OptionError, match="'bodi"):
        functional(rrdbnet(), checkpoint='bodi.*')


# The layout changes the order of the sums: exact but for rounding, which float64 tells apart from a mistake.
@pytest.mark.parametrize(('dtype', 'limit'), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_channels_last_gives_the_same_gradient(astronaut_tensor: Tensor, dtype: torch.dtype, limit: float) -> None:
    net, photo = rrdbnet().to(dtype), astronaut_tensor.to(dtype)
    wanted = gradient(net, photo)
    found = gradient(copy.deepcopy(net).to(memory_format=torch.channels_last), photo, torch.channels_last)
    assert relative_difference(found.theta, wanted.theta) < limit
    assert relative_difference(found.phi, wanted.phi) < limit


@pytest.mark.parametrize('curvature', ['forward', 'reverse'])
def test_bf16_stays_near_the_float32_gradient(astronaut_tensor: Tensor, curvature: str) -> None:
    net = rrdbnet()
    wanted = gradient(net, astronaut_tensor)
    found = gradient(net, astronaut_tensor, bf16=True, curvature=curvature)
    assert all(g.dtype == torch.float32 for g in [*found.theta.values(), *found.fast_params.values()])
    assert relative_difference(found.theta, wanted.theta) < 2e-2
    assert relative_difference(found.phi, wanted.phi) < 2e-2
    assert found.finite


@pytest.mark.gpu
@pytest.mark.parametrize('mode', ['first', 'first_mask', 'second'])
def test_a_gpu_gives_the_gradient_of_the_cpu(astronaut_tensor: Tensor, mode: str) -> None:
    net, photo = rrdbnet().double(), astronaut_tensor.double()
    wanted = gradient(net, photo, mode=mode)
    with torch.device('cuda'):
        found = gradient(net.cuda(), photo.cuda(), mode=mode)
    assert relative_difference({k: v.cpu() for k, v in found.theta.items()}, wanted.theta) < 1e-9
    assert relative_difference({k: v.cpu() for k, v in found.phi.items()}, wanted.phi) < 1e-9
