"""The engine against numbers recorded from the authors' program (TensorFlow, float32), with made-up weights.

Every tensor is ``randn * scale`` from a generator seeded with the checksum of its name, so that the numbers can be made
anywhere. Tolerances: 1e-5 on scalars, outputs and total norms, 5e-4 on the norm of one tensor.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from unrolled_reference import relative_difference, unrolled_gradient

from metaf2n_arch.archs.mask_net_arch import MaskNet
from metaf2n_arch.meta import MetaGradient, Params, functional, meta_gradient

SCALAR, TENSOR = 1e-5, 5e-4


def made_up(key: str, shape: torch.Size, scale: float) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(key.encode()))) * scale


def image(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def generator(num_block: int) -> nn.Module:
    from basicsr.archs.rrdbnet_arch import RRDBNet

    net = RRDBNet(3, 3, scale=4, num_feat=64, num_block=num_block, num_grow_ch=32)
    scales = {'weight': 0.03, 'bias': 0.01}
    net.load_state_dict({k: made_up(k, v.shape, scales[k.rsplit('.')[-1]]) for k, v in net.state_dict().items()})
    return net


def mask_net() -> nn.Module:
    net = MaskNet(bias_last=1.0)
    weights = {k: made_up(k, v.shape, 0.05) for k, v in net.state_dict().items() if k.endswith('weight')}
    net.load_state_dict(weights, strict=False)
    return net


def discriminator() -> nn.Module:
    from basicsr.archs.discriminator_arch import UNetDiscriminatorSN

    net = UNetDiscriminatorSN(3, 64).train()
    state = {}
    for key, value in net.state_dict().items():
        kind = key.rsplit('.')[-1]
        state[key] = made_up(key, value.shape, {'bias': 0.01, 'weight_u': 1.0, 'weight_v': 1.0}.get(kind, 0.05))
        if kind in ('weight_u', 'weight_v'):
            state[key] /= state[key].norm()
    net.load_state_dict(state)
    return net


@dataclass
class Golden:
    """One task of the recipe, its losses, and what they were at the last look."""

    num_block: int = 23

    def __post_init__(self) -> None:
        self.net, self.mask, self.critic = generator(self.num_block), mask_net(), discriminator()
        self.theta, self.phi = dict(self.net.named_parameters()), dict(self.mask.named_parameters())
        self.call, self.call_mask, self.judge = map(functional, (self.net, self.mask, self.critic))
        self.support_lq, self.support_hq = image(11, 2, 3, 8, 8), image(12, 2, 3, 32, 32)
        self.query_lq, self.query_gt = image(13, 2, 3, 16, 16), image(14, 2, 3, 64, 64)
        self.seen: dict[str, Tensor] = {}

    def confidence(self, phi: Params) -> Tensor:
        return self.call_mask(phi, self.support_lq, self.support_hq)

    def inner(self, theta: Params, phi: Params) -> Tensor:
        return (self.confidence(phi) * (self.support_hq - self.call(theta, self.support_lq)).abs()).mean()

    def outer(self, theta: Params, phi: Params, step: int) -> Tensor:
        output = self.call(theta, self.query_lq)
        logits = self.judge({}, output)
        l1, gan = F.l1_loss(output, self.query_gt), F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))
        self.seen = {'output': output.detach(), 'l1': l1.detach(), 'gan': gan.detach()}
        return l1 + 0.1 * gan + 0.002 * (self.confidence(phi) - 1).square().mean() / 2

    def gradient(self, **options) -> MetaGradient:
        return meta_gradient(self.theta, self.phi, self.inner, self.outer, inner_lr=1e-2, **options)

    def discriminator_gradient(self) -> tuple[Tensor, list[Tensor]]:
        """The discriminator's loss and gradient, on the output of the last outer loss."""
        weights = dict(self.critic.named_parameters())
        real, fake = self.judge(weights, self.query_gt), self.judge(weights, self.seen['output'])
        loss = F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
        loss = loss + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
        return loss.detach(), list(torch.autograd.grad(loss, list(weights.values())))


def norm(tensors: Params | list[Tensor]) -> float:
    values = tensors.values() if isinstance(tensors, dict) else tensors
    return torch.stack([t.double().norm() for t in values]).norm().item()


def test_the_recipe_gives_the_recorded_first_values() -> None:
    first = made_up('conv_first.weight', torch.Size([64, 3, 3, 3]), 0.03).flatten()[:3].tolist()
    mask = made_up('conv1.weight', torch.Size([64, 6, 3, 3]), 0.05).flatten()[:3].tolist()
    assert first == pytest.approx([-0.0602249, -0.0037051, -0.0037053], abs=1e-7)
    assert mask == pytest.approx([0.0382768, -0.0754427, 0.1591726], abs=1e-7)
    assert image(11, 2, 3, 8, 8).flatten()[:3].tolist() == pytest.approx([0.1490417, 0.4865531, 0.9856615], abs=1e-7)


def test_one_second_order_step_gives_the_authors_numbers() -> None:
    task = Golden()
    confidence = task.confidence(task.phi)
    assert confidence.mean().item() == pytest.approx(0.99677106, rel=SCALAR)
    assert confidence.min().item() == pytest.approx(0.92987937, rel=SCALAR)
    assert confidence.max().item() == pytest.approx(1.06145585, rel=SCALAR)

    with torch.no_grad():
        assert task.outer(task.theta, task.phi, 0).item() == pytest.approx(0.56960654, rel=SCALAR)
    assert task.seen['l1'].item() == pytest.approx(0.50089598, rel=SCALAR)
    assert task.seen['gan'].item() == pytest.approx(0.68710136, rel=SCALAR)

    found = task.gradient()
    assert found.inner_losses[0].item() == pytest.approx(0.49925074, rel=SCALAR)
    assert found.outer_losses[0].item() == pytest.approx(0.66833013, rel=SCALAR)
    assert task.seen['l1'].item() == pytest.approx(0.60140294, rel=SCALAR)
    assert task.seen['gan'].item() == pytest.approx(0.66926801, rel=SCALAR)
    output = task.seen['output']
    assert output.mean().item() == pytest.approx(1.01366992, rel=SCALAR)
    assert output.std(unbiased=False).item() == pytest.approx(0.41080737, rel=SCALAR)
    assert output.norm().item() == pytest.approx(171.464306, rel=SCALAR)

    assert norm(found.theta) == pytest.approx(31.2966134, rel=SCALAR)
    recorded = {'conv_first': 12.7037115, 'conv_up1': 10.2433102, 'conv_last': 16.2155256}
    for name, value in recorded.items():
        assert found.theta[f'{name}.weight'].norm().item() == pytest.approx(value, rel=TENSOR)
    assert norm(found.phi) == pytest.approx(2.03629395, rel=SCALAR)
    assert found.phi['conv1.weight'].norm().item() == pytest.approx(0.47379848, rel=TENSOR)
    assert found.phi['conv8.weight'].norm().item() == pytest.approx(0.66585598, rel=TENSOR)

    loss, gradient = task.discriminator_gradient()
    assert loss.item() == pytest.approx(1.39766324, rel=SCALAR)
    assert norm(gradient) == pytest.approx(1.59702537, rel=SCALAR)


@pytest.mark.parametrize('num_block', [1, pytest.param(23, marks=pytest.mark.slow)])
def test_two_steps_equal_the_unrolled_graph(num_block: int) -> None:
    """The authors average the weighted losses of two steps, an extra factor 1/2: weights (.25, .25)."""
    task, weights = Golden(num_block), (0.25, 0.25)
    found = task.gradient(inner_steps=2, step_weights=weights)
    wanted = unrolled_gradient(task.theta, task.phi, task.inner, task.outer, 1e-2, 2, weights=weights)
    assert relative_difference(found.theta, wanted.theta) < SCALAR
    assert relative_difference(found.phi, wanted.phi) < SCALAR
    assert sum(w * loss.item() for w, loss in zip(weights, found.outer_losses)) == pytest.approx(wanted.loss.item())


@pytest.mark.parametrize('num_block', [1, pytest.param(23, marks=pytest.mark.slow)])
def test_first_order_equals_a_graph_that_stops_at_the_inner_gradient(num_block: int) -> None:
    task = Golden(num_block)
    found = task.gradient(mode='first')
    wanted = unrolled_gradient(task.theta, task.phi, task.inner, task.outer, 1e-2, second_order=False)
    assert relative_difference(found.theta, wanted.theta) < SCALAR
    assert relative_difference(found.phi, wanted.phi) < SCALAR
