"""Relativistic adversarial losses and the gradient penalty, on logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

_means_of_own_batch: ContextVar[bool] = ContextVar('means_of_own_batch', default=False)


@contextmanager
def means_of_own_batch() -> Iterator[None]:
    """Inside this block `global_mean` averages over the batch of its own process alone.

    For batches that do not belong together, such as tasks of different degradations. One process that computes them one
    after the other then gives the same result as several processes side by side.
    """
    token = _means_of_own_batch.set(True)
    try:
        yield
    finally:
        _means_of_own_batch.reset(token)


class _SumOverProcesses(torch.autograd.Function):
    """Sum of a tensor over all processes; the gradient of a sum is the sum of the gradients, again over all of them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return _SumOverProcesses.apply(gradients[0])


def global_mean(x: Tensor) -> Tensor:
    """Returns the mean of all entries of `x`, over the batches of all processes if there are several.

    Differentiable: with each process's loss back-propagated and the gradients averaged over the processes (as
    DistributedDataParallel does), the result is the gradient of one process on the joined batch. Every process must
    take part in the forward and the backward, except inside `means_of_own_batch`.

    >>> global_mean(torch.tensor([1.0, 3.0]))
    tensor(2.)
    """
    several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
    if not several or _means_of_own_batch.get():
        return x.mean()
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    total, count = _SumOverProcesses.apply(torch.stack([wide.sum(), wide.new_tensor(wide.numel())]))
    return (total / count).to(x.dtype)


def centre(real: Tensor, fake: Tensor, centring: str) -> tuple[Tensor, Tensor]:
    """Makes the critic's logits relativistic (Jolicoeur-Martineau, "The relativistic discriminator", ICLR 2019).

    ``average``: x̃_r = C(r) - E C(f), x̃_f = C(f) - E C(r). ``centred``: m = (E C(r) + E C(f)) / 2 is subtracted from
    both. E is `global_mean`.

    Args:
        real, fake: logits of any shape.
        centring: ``average`` or ``centred``.

    Returns:
        (x̃_r, x̃_f), shaped as the logits.

    >>> centre(torch.tensor([3.0]), torch.tensor([1.0]), 'centred')
    (tensor([1.]), tensor([-1.]))
    """
    mean_real, mean_fake = global_mean(real), global_mean(fake)
    if centring == 'average':
        return real - mean_fake, fake - mean_real
    middle = (mean_real + mean_fake) / 2
    return real - middle, fake - middle


def _bce(high: Tensor, low: Tensor) -> Tensor:
    return F.softplus(-high).mean() + F.softplus(low).mean()


def _least_squares(high: Tensor, low: Tensor) -> Tensor:
    return (high - 1).square().mean() + (low + 1).square().mean()


def _hinge(high: Tensor, low: Tensor) -> Tensor:
    return F.relu(1 - high).mean() + F.relu(1 + low).mean()


def _wasserstein(high: Tensor, low: Tensor) -> Tensor:
    return low.mean() - high.mean()


# Losses of centred logits: small where `high` is judged real and `low` is judged fake.
MARGINS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    'bce': _bce,
    'ls': _least_squares,
    'hinge': _hinge,
    'wasserstein': _wasserstein,
}


def relativistic_loss(high: Tensor, low: Tensor, centring: str, margin: str) -> Tensor:
    """Returns the relativistic loss, a scalar: small where the critic judges `high` more real than `low`.

    On the logits that `centre` makes: ``bce`` -log σ(x̃_h) - log(1 - σ(x̃_l)), ``ls`` (x̃_h - 1)² + (x̃_l + 1)²,
    ``hinge`` relu(1 - x̃_h) + relu(1 + x̃_l), ``wasserstein`` x̃_l - x̃_h, each a mean over the logits; not halved.

    Args:
        high, low: logits of any shape. For the discriminator's loss `high` are those of real, `low` those of generated
            images; for the generator's loss the other way round.
        centring: ``average`` or ``centred``, see `centre`.
        margin: ``bce``, ``ls``, ``hinge`` or ``wasserstein``.

    >>> relativistic_loss(torch.tensor([1.0]), torch.tensor([-1.0]), 'centred', 'hinge')
    tensor(0.)
    """
    return MARGINS[margin](*centre(high, low, centring))


def gradient_penalty(critic: Callable[[Tensor], Any], fake: Tensor, real: Tensor, eps: Tensor) -> Tensor:
    """Gradient penalty on the line between real and generated images (Gulrajani et al., WGAN-GP, NeurIPS 2017).

    mean_b (‖∇ C(Î_b)‖₂ - 1)² with Î = eps·real + (1 - eps)·fake. C is the mean of an image's logits, so that the
    penalty of a critic with a map of logits does not depend on the size of the map.

    Args:
        critic: images (B, C, H, W) to logits (B, ...).
        fake, real: (B, C, H, W).
        eps: positions on the line in [0, 1], broadcast against the images: (B, 1, 1, 1).

    Returns:
        A scalar, with a graph to the critic's weights.

    >>> fake, real = torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4)
    >>> gradient_penalty(lambda x: x[:, 0, 0, 0], fake, real, eps=torch.rand(2, 1, 1, 1))
    tensor(0.)
    """
    between = (eps * real.detach() + (1 - eps) * fake.detach()).requires_grad_()
    with torch.enable_grad():
        logits = critic(between)
        score = logits.reshape(len(logits), -1).mean(1)
    (gradient,) = torch.autograd.grad(score.sum(), between, create_graph=True)
    # The gradient of the norm is NaN at 0. A critic that ignores its input has that norm.
    norm = (gradient.flatten(1).square().sum(1) + torch.finfo(gradient.dtype).tiny).sqrt()
    return (norm - 1).square().mean()
