"""A discriminator asked by both players: one judgement each, and the gradients two judgements would give."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from basicsr.archs.discriminator_arch import UNetDiscriminatorSN, VGGStyleDiscriminator
from torch import Tensor, nn

from metaf2n_arch.losses.terms import LossTerms
from metaf2n_arch.models.critic import SharedCritic, mixes_images


class Counting(nn.Module):
    """A discriminator that counts how often it is called."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net, self.calls = UNetDiscriminatorSN(3, 4).eval().double(), 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return self.net(images)


@pytest.fixture
def images(astronaut_tensor: Tensor) -> tuple[Tensor, Tensor]:
    gt = astronaut_tensor[:, :, 40:72, 180:212].double()
    return (gt * 0.9 + 0.03).requires_grad_(), gt


@pytest.mark.parametrize(
    ('entry', 'judgements'),
    [
        ({'type': 'GANLoss', 'gan_type': 'vanilla'}, 2),
        ({'type': 'RelativisticGANLoss', 'kind': 'RaHinge'}, 2),
        ({'type': 'RelativisticGANLoss', 'kind': 'RaGP'}, 3),  # the penalty's images are its own
        ({'type': 'HighFrequencyConfusion', 'loss': {'type': 'GANLoss', 'gan_type': 'lsgan'}}, 3),
    ],
    ids=str,
)
def test_both_players_get_the_gradients_of_separate_judgements(images, entry, judgements) -> None:
    fake, real = images
    net = Counting()
    weights = list(net.parameters())

    def both(critic: Any) -> list[Tensor]:
        torch.manual_seed(1)
        terms = LossTerms([entry]).double()
        total, _ = terms.generator(fake, {'gt': real}, critic)
        judged, _ = terms.discriminator(fake, {'gt': real}, critic)
        of_critic = torch.autograd.grad(judged, weights, retain_graph=True)
        return [total, judged, *of_critic, *torch.autograd.grad(total, fake)]

    apart = both(net)
    net.calls = 0
    together = both(SharedCritic(net))
    assert net.calls == judgements
    for found, expected in zip(together, apart):
        torch.testing.assert_close(found, expected)


def test_what_changed_or_wants_a_graph_of_its_own_is_judged_again(images) -> None:
    fake, real = images
    net = Counting()
    critic = SharedCritic(net)
    assert critic(fake) is critic(fake.detach())
    assert net.calls == 1
    leaf = fake.detach().requires_grad_()
    assert torch.autograd.grad(critic(leaf).sum(), leaf)[0].abs().sum() > 0
    assert net.calls == 2
    changing = real.clone()
    before = critic(changing)
    changing.mul_(0.5)
    assert not torch.equal(critic(changing), before)
    with torch.no_grad():
        assert not critic(real).requires_grad
    assert critic(real).requires_grad, 'the graph is there for whoever wants it next'
    assert net.calls == 5


def test_batch_normalisation_in_training_mixes_images() -> None:
    net = VGGStyleDiscriminator(3, 4, input_size=128)
    assert mixes_images(None, net)
    assert not mixes_images(net.eval(), UNetDiscriminatorSN(3, 4))
