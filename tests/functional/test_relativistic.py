"""Relativistic losses against the paper's formulas as loops; the gradient penalty against finite differences."""

from __future__ import annotations

import math

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor, nn

from metaf2n_arch.functional.relativistic import centre, global_mean, gradient_penalty, relativistic_loss


def as_a_loop(high: list[float], low: list[float], centring: str, margin: str) -> float:
    """The loss of one player on lists of numbers."""
    mean_high, mean_low = sum(high) / len(high), sum(low) / len(low)
    if centring == 'centred':
        mean_high = mean_low = (mean_high + mean_low) / 2
    total = 0.0
    for h, w in zip(high, low):
        h, w = h - mean_low, w - mean_high
        if margin == 'bce':
            total += -math.log(1 / (1 + math.exp(-h))) - math.log(1 - 1 / (1 + math.exp(-w)))
        elif margin == 'ls':
            total += (h - 1) ** 2 + (w + 1) ** 2
        elif margin == 'wasserstein':
            total += w - h
        else:
            total += max(0.0, 1 - h) + max(0.0, 1 + w)
    return total / len(high)


@pytest.mark.parametrize('centring', ['average', 'centred'])
@pytest.mark.parametrize('margin', ['bce', 'ls', 'hinge', 'wasserstein'])
def test_loss_equals_the_formula_and_its_gradient_finite_differences(centring, margin) -> None:
    torch.manual_seed(3)
    high, low = torch.randn(2, 7, dtype=torch.float64).requires_grad_().unbind()
    expected = as_a_loop(high.tolist(), low.tolist(), centring, margin)
    assert relativistic_loss(high, low, centring, margin).item() == pytest.approx(expected, rel=1e-12)
    leaves = (high.detach().requires_grad_(), low.detach().requires_grad_())
    assert torch.autograd.gradcheck(lambda h, w: relativistic_loss(h, w, centring, margin), leaves)


@pytest.mark.parametrize('centring', ['average', 'centred'])
def test_losses_do_not_change_when_all_logits_move_together(centring) -> None:
    torch.manual_seed(0)
    high, low = torch.randn(2, 5, 1, 4, 4, dtype=torch.float64)
    for margin in ('bce', 'ls', 'hinge', 'wasserstein'):
        shifted = relativistic_loss(high + 9, low + 9, centring, margin)
        torch.testing.assert_close(shifted, relativistic_loss(high, low, centring, margin))


def test_centred_logits_balance_around_zero() -> None:
    torch.manual_seed(0)
    real, fake = torch.randn(2, 6, dtype=torch.float64)
    centred = centre(real, fake, 'centred')
    assert abs((centred[0].mean() + centred[1].mean()).item()) < 1e-12
    average = centre(real, fake, 'average')
    torch.testing.assert_close(average[0].mean(), real.mean() - fake.mean())


def test_penalty_is_zero_for_a_critic_with_unit_gradient() -> None:
    torch.manual_seed(0)
    weight = torch.randn(3, 6, 5, dtype=torch.float64)
    weight /= weight.norm()
    fake, real = torch.rand(2, 4, 3, 6, 5, dtype=torch.float64)
    eps = torch.rand(4, 1, 1, 1, dtype=torch.float64)
    assert gradient_penalty(lambda x: (x * weight).sum((1, 2, 3)), fake, real, eps).item() < 1e-25
    steep = gradient_penalty(lambda x: (3 * x * weight).sum((1, 2, 3)), fake, real, eps)
    assert steep.item() == pytest.approx(4.0)  # (3 - 1)²


def test_penalty_of_a_map_of_logits_is_that_of_their_mean() -> None:
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 1, 3)).double()
    fake, real = torch.rand(2, 2, 3, 8, 8, dtype=torch.float64)
    eps = torch.rand(2, 1, 1, 1, dtype=torch.float64)
    mean = gradient_penalty(lambda x: critic(x).mean((1, 2, 3)), fake, real, eps)
    torch.testing.assert_close(gradient_penalty(critic, fake, real, eps), mean)


def test_penalty_walks_from_fake_to_real() -> None:
    seen = []

    def critic(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return x.sum((1, 2, 3))

    fake, real = torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2)
    gradient_penalty(critic, fake, real, torch.tensor([0.25, 1.0]).view(2, 1, 1, 1))
    assert seen[0][:, 0, 0, 0].tolist() == [0.25, 1.0]


def test_double_backward_of_the_penalty_matches_finite_differences() -> None:
    torch.manual_seed(0)
    fake, real = torch.rand(2, 2, 3, 6, 6, dtype=torch.float64)
    eps = torch.rand(2, 1, 1, 1, dtype=torch.float64)
    first = torch.randn(4, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    second = torch.randn(1, 4, 3, 3, dtype=torch.float64, requires_grad=True)

    def penalty(a: Tensor, b: Tensor) -> Tensor:
        critic = lambda x: torch.conv2d(torch.tanh(torch.conv2d(x, a)), b)  # noqa: E731 - two lines would hide the formula
        return gradient_penalty(critic, fake, real, eps)

    assert torch.autograd.gradcheck(penalty, (first, second))


def test_penalty_of_a_critic_that_ignores_its_input_has_a_finite_gradient() -> None:
    weight = torch.zeros((), requires_grad=True)
    images = torch.rand(2, 3, 4, 4)
    penalty = gradient_penalty(lambda x: weight * x.sum((1, 2, 3)), images, images, torch.zeros(2, 1, 1, 1))
    penalty.backward()
    assert penalty.item() == pytest.approx(1.0)
    assert torch.isfinite(weight.grad)


def _losses(real: Tensor, fake: Tensor) -> list[Tensor]:
    return [relativistic_loss(real, fake, c, m) for c in ('average', 'centred') for m in ('bce', 'ls', 'hinge')]


def _logits() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    real, fake = torch.randn(2, 6, 1, 3, 3, generator=generator, dtype=torch.float64)
    return real, fake


def _process(rank: int, out: str) -> None:
    torch.distributed.init_process_group('gloo', f'file://{out}/meeting', rank=rank, world_size=2)
    real, fake = (x.chunk(2)[rank].requires_grad_() for x in _logits())
    results = []
    for loss in _losses(real, fake):
        gradients = torch.autograd.grad(loss, (real, fake))
        results.append((loss.detach(), *gradients))
    torch.save((global_mean(real).detach(), results), f'{out}/{rank}.pt')
    torch.distributed.destroy_process_group()


def test_two_processes_give_the_values_and_gradients_of_one(tmp_path) -> None:
    mp.spawn(_process, (str(tmp_path),), nprocs=2)
    ranks = [torch.load(tmp_path / f'{rank}.pt', weights_only=True) for rank in (0, 1)]

    real, fake = (x.requires_grad_() for x in _logits())
    for mean, _ in ranks:
        torch.testing.assert_close(mean, real.mean().detach())
    for k, loss in enumerate(_losses(real, fake)):
        torch.testing.assert_close(sum(results[k][0] for _, results in ranks) / 2, loss.detach())
        for part, expected in zip((1, 2), torch.autograd.grad(loss, (real, fake))):
            # DistributedDataParallel averages the processes' gradients: hence the 2
            joined = torch.cat([results[k][part] for _, results in ranks]) / 2
            torch.testing.assert_close(joined, expected)
