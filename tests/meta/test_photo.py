"""Adapting to the faces of one photo, against the inner loop written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from metaf2n_arch.meta.photo import Gain, adapt_to_faces, psnr
from metaf2n_arch.meta.support import random_patches

RATE = 0.05


class Mask(nn.Module):
    """A confidence from both faces."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 1, 3, padding=1)

    def forward(self, lq: torch.Tensor, hq: torch.Tensor) -> torch.Tensor:
        return self.conv(torch.cat([F.interpolate(lq, size=hq.shape[-2:]), hq], 1)).relu() + 0.5


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.LeakyReLU(0.1), nn.Conv2d(8, 48, 1), nn.PixelShuffle(4))


@pytest.fixture
def faces(astronaut_tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    hq = astronaut_tensor[0, :, 60:188, 170:298]
    return [(F.avg_pool2d(hq, 4), hq), (F.avg_pool2d(hq, 4).flip(2), hq.flip(2))]


@pytest.mark.parametrize('measured', [1, 4])
@pytest.mark.parametrize('masked', [False, True])
def test_two_steps_are_those_of_the_loop_written_out(net, faces, masked, measured):
    torch.manual_seed(1)
    mask = Mask() if masked else None
    result = adapt_to_faces(
        net,
        mask,
        faces,
        np.random.default_rng(3),
        patches=4,
        lq_patch_size=8,
        inner_lr=RATE,
        inner_steps=2,
        measure=measured,
    )
    lq, hq = random_patches(faces, 4, 8, np.random.default_rng(3))
    theta, losses, outputs = dict(net.named_parameters()), [], []
    for _ in range(3):
        output = functional_call(net, theta, (lq,))
        weight = mask(lq, hq).detach() if masked else 1
        error = weight * (hq - output).abs()
        grads = torch.autograd.grad(error.mean(), list(theta.values()))
        # Four patches of the one face, then four of the other.
        losses.append(error.view(2, 4, 3, 32, 32)[:, :measured].mean().item())
        outputs.append(output.detach().clamp(0, 1).view(2, 4, 3, 32, 32)[:, :measured])
        last, theta = theta, {n: (p - RATE * g).detach().requires_grad_() for (n, p), g in zip(theta.items(), grads)}
    for name, p in result.fast_params.items():
        assert torch.allclose(p, last[name], rtol=1e-5, atol=1e-7)
    assert (result.gain.loss_before, result.gain.loss_after) == pytest.approx((losses[0], losses[2]))
    hq = hq.view(2, 4, 3, 32, 32)[:, :measured]
    expected = [-10 * np.log10(((output - hq) ** 2).mean().item()) for output in (outputs[0], outputs[2])]
    assert (result.gain.psnr_before, result.gain.psnr_after) == pytest.approx(expected)
    assert result.gain.loss > 0
    assert result.gain.finite


def test_networks_stay_as_they_are_and_no_face_means_no_step(net, faces):
    before = {name: p.clone() for name, p in net.named_parameters()}
    assert adapt_to_faces(net, None, [], np.random.default_rng(0)) is None
    result = adapt_to_faces(net, None, faces, np.random.default_rng(0), lq_patch_size=8)
    assert result.gain is None
    assert all(torch.equal(p, before[name]) for name, p in net.named_parameters())
    assert any(not torch.equal(p, before[name]) for name, p in result.fast_params.items())


def test_only_what_is_named_moves(net, faces):
    result = adapt_to_faces(net, None, faces, np.random.default_rng(0), lq_patch_size=8, adapt_only=['2.weight'])
    moved = [name for name, p in net.named_parameters() if not torch.equal(p, result.fast_params[name])]
    assert moved == ['2.weight']


def test_a_step_that_leads_nowhere_says_so(net, faces):
    result = adapt_to_faces(net, None, faces, np.random.default_rng(0), lq_patch_size=8, inner_lr=1e30, measure=2)
    assert not result.gain.finite


def test_gain_is_share_of_loss_and_difference_of_psnr():
    gain = Gain(loss_before=0.2, loss_after=0.15, psnr_before=20.0, psnr_after=21.5)
    assert (gain.loss, gain.psnr) == pytest.approx((0.25, 1.5))
    assert psnr(torch.zeros(3), torch.full((3,), 0.1)) == pytest.approx(20)
    assert psnr(torch.zeros(3), torch.full((3,), -5.0)) == float('inf')
