"""Adversarial losses: their interface to a model, and the adapter for BasicSR's own `GANLoss`.

A model calls the methods `generator` and `discriminator`, and passes the critic as a function. It does not know which
adversarial loss it trains with: relativistic losses, gradient penalties and losses that change the critic's input all
fit this interface.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from basicsr.losses.gan_loss import GANLoss
from torch import Tensor, nn

from metaf2n_arch.utils.checks import OptionError, require_image_batch, require_same_shape

Critic = Callable[[Tensor], Any]


class AdversarialLoss(nn.Module):
    """Base class of the adversarial losses: one method per player.

    A subclass implements `generator` and `discriminator`. Both get a critic that maps images (B, C, H, W) in [0, 1] to
    logits (B, ...), the restored images `fake` and the real images `real`. The discriminator's loss is the sum
    L_D = L(D(real), 1) + L(D(fake), 0), not halved; `loss_weight` multiplies the generator's side only.

    Attributes:
        mean_over_images: whether each player's loss of a batch is the mean of the losses of its images.
        stats: after `discriminator`, the detached mean logits ``out_d_real`` and ``out_d_fake``, for the log.
    """

    mean_over_images = False

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = float(loss_weight)
        self.stats: dict[str, Tensor] = {}

    def generator(self, critic: Critic, fake: Tensor, real: Tensor) -> Tensor:
        """Returns the weighted loss of the generator, a scalar with a graph to `fake`."""
        raise NotImplementedError

    def discriminator(self, critic: Critic, fake: Tensor, real: Tensor) -> Tensor:
        """Returns the loss of the discriminator, a scalar with a graph to the critic's weights, none to `fake`."""
        raise NotImplementedError

    def forward(self, *_: Any, **__: Any) -> Tensor:
        raise OptionError(
            f'{type(self).__name__} is an adversarial loss: it needs a discriminator and cannot be used as a loss of '
            'two images. Use it in a model that trains with a discriminator.'
        )

    def record(self, real: Any, fake: Any) -> None:
        """Keeps the mean logits in `stats`."""
        self.stats = {'out_d_real': _mean_logit(real), 'out_d_fake': _mean_logit(fake)}


class StockAdversarialLoss(AdversarialLoss):
    """BasicSR's `GANLoss` (vanilla, lsgan, wgan, wgan_softplus, hinge) or `MultiScaleGANLoss` as an `AdversarialLoss`.

    L_G = L(D(fake), 1), L_D = L(D(real), 1) + L(D(fake), 0), each image judged on its own. `SRGANModel` does the same.
    `ESRGANModel` makes the same `GANLoss` relativistic; with `hinge` the loss of its generator is then 0.

    >>> from basicsr.losses.gan_loss import GANLoss
    >>> loss = StockAdversarialLoss(GANLoss('hinge'))
    >>> loss.generator(lambda x: x.mean((1, 2, 3)), torch.ones(2, 3, 8, 8), torch.zeros(2, 3, 8, 8)).item()
    -1.0
    """

    mean_over_images = True

    def __init__(self, loss: GANLoss) -> None:
        super().__init__(loss.loss_weight)
        self.loss = loss

    def generator(self, critic: Critic, fake: Tensor, real: Tensor) -> Tensor:
        check_pair(fake, real)
        return self.loss(critic_logits(critic, fake), True, is_disc=False)

    def discriminator(self, critic: Critic, fake: Tensor, real: Tensor) -> Tensor:
        check_pair(fake, real)
        on_real = critic_logits(critic, real)
        on_fake = critic_logits(critic, fake.detach())
        self.record(on_real, on_fake)
        return self.loss(on_real, True, is_disc=True) + self.loss(on_fake, False, is_disc=True)


def as_adversarial(loss: nn.Module) -> AdversarialLoss:
    """Returns `loss` itself if it is an `AdversarialLoss`, or BasicSR's `GANLoss` wrapped as one.

    Raises:
        OptionError: if it is neither.
    """
    if isinstance(loss, AdversarialLoss):
        return loss
    if isinstance(loss, GANLoss):
        return StockAdversarialLoss(loss)
    raise OptionError(
        f'{type(loss).__name__} is not an adversarial loss; expected GANLoss, RelativisticGANLoss or another '
        'subclass of metaf2n_arch.losses.adversarial.AdversarialLoss.'
    )


def critic_logits(critic: Critic, images: Tensor) -> Any:
    """Returns the critic's logits of `images`, checked to have one entry (or map) per image.

    Raises:
        ValueError: if the critic's output, or one of its outputs, is not a real floating-point tensor whose first
            dimension is the batch.
    """
    output = critic(images)
    for logits in _flatten(output):
        if not isinstance(logits, Tensor) or logits.ndim == 0 or logits.shape[0] != images.shape[0]:
            found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(
                f'The discriminator returned {found} for {images.shape[0]} images; expected logits of shape '
                f'({images.shape[0]}, ...), the batch first.'
            )
        if not logits.is_floating_point():
            raise ValueError(f'The discriminator returned logits of {logits.dtype}, expected floating-point numbers.')
    return output


def check_pair(fake: Tensor, real: Tensor) -> None:
    """Raises `ValueError` unless both are real floating-point image batches of one shape."""
    require_image_batch('fake', fake)
    require_image_batch('real', real)
    require_same_shape('fake', fake, 'real', real)


def _flatten(output: Any) -> list[Any]:
    """The tensors in a possibly nested list of outputs."""
    if isinstance(output, Sequence):
        return [item for part in output for item in _flatten(part)]
    return [output]


def _mean_logit(output: Any) -> Tensor:
    """Mean of one output, or of the means of several."""
    return torch.stack([logits.detach().float().mean() for logits in _flatten(output)]).mean()
