"""Relativistic adversarial losses: RaGAN, RcGAN, RaGP, WGANGP and their variants."""

from __future__ import annotations

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor

from metaf2n_arch.functional.relativistic import gradient_penalty, relativistic_loss
from metaf2n_arch.losses.adversarial import AdversarialLoss, Critic, check_pair, critic_logits
from metaf2n_arch.utils.checks import OptionError, require_choice, require_number
from metaf2n_arch.utils.registries import register

# kind -> (centring of the logits, loss of the centred logits), see `metaf2n_arch.functional.relativistic`
KINDS = {
    'RaGAN': ('average', 'bce'),
    'RaHinge': ('average', 'hinge'),
    'RaLS': ('average', 'ls'),
    'RcGAN': ('centred', 'bce'),
    'RcHinge': ('centred', 'hinge'),
    'RcLS': ('centred', 'ls'),
    'RaGP': ('average', 'bce'),
    'WGANGP': ('centred', 'wasserstein'),
}
PENALISED = ('RaGP', 'WGANGP')


@register(LOSS_REGISTRY)
class RelativisticGANLoss(AdversarialLoss):
    """Relativistic adversarial losses (Jolicoeur-Martineau, ICLR 2019) and RaGP, RaGAN with WGAN-GP's gradient penalty.

    r are the critic's logits of real, f those of generated images. From each the batch mean of the other side (Ra) or
    the middle of both means (Rc) is subtracted, see `metaf2n_arch.functional.relativistic`, which gives x̃_r and x̃_f:

    - GAN:   L_D = -log σ(x̃_r) - log(1 - σ(x̃_f))
    - LS:    L_D = (x̃_r - 1)² + (x̃_f + 1)²
    - Hinge: L_D = relu(1 - x̃_r) + relu(1 + x̃_f)
    - RaGP:  L_D = RaGAN + gp_weight · (‖∇C(Î)‖₂ - 1)², Î on the line between a real and a generated image
    - WGANGP: L_D = f - r + gp_weight · (‖∇C(Î)‖₂ - 1)² (Gulrajani et al., NeurIPS 2017); its L_G is r - f, r a constant

    L_G has the roles of real and generated images swapped. Batch means are taken over the batches of all processes.
    Sums are not halved (`ESRGANModel` halves both sides; its weight of 0.005 is 0.0025 here). As in `ESRGANModel`, the
    real logits are constants for the generator.

    Args:
        kind: RaGAN, RaHinge, RaLS, RcGAN, RcHinge, RcLS, RaGP or WGANGP.
        gp_weight: weight of the penalty of RaGP and WGANGP; the other kinds have none.
        loss_weight: factor of the generator's loss.

    The positions on the line are drawn from torch's random generator of the images' device, which `manual_seed` seeds;
    set `random` to a `torch.Generator` of that device for independent draws. The hinge loss of the generator and its
    gradient are 0 as soon as the critic judges the generated images more real by the whole margin.

    Raises:
        OptionError: for an unknown kind or a negative `gp_weight`.
        ValueError: for images that are not (B, C, H, W) of one shape, or logits without a batch dimension.

    >>> loss = RelativisticGANLoss('RaLS', loss_weight=0.5)
    >>> fake, real = torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4)
    >>> loss.generator(lambda x: x.mean((1, 2, 3)), fake, real).item()  # 0.5 · ((1 + 1)² + (-1 - 1)²)
    4.0
    """

    def __init__(self, kind: str = 'RaGAN', gp_weight: float = 10.0, loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)
        require_choice('RelativisticGANLoss kind', kind, KINDS)
        require_number('RelativisticGANLoss gp_weight', gp_weight)
        if gp_weight < 0:
            raise OptionError(f'RelativisticGANLoss gp_weight is {gp_weight!r}, expected a number of at least 0.')
        self.kind = kind
        self.gp_weight = float(gp_weight) if kind in PENALISED else 0.0
        self.random: torch.Generator | None = None

    def generator(self, critic: Critic, fake: Tensor, real: Tensor) -> Tensor:
        check_pair(fake, real)
        with torch.no_grad():
            on_real = _single(critic_logits(critic, real))
        on_fake = _single(critic_logits(critic, fake))
        return self.loss_weight * relativistic_loss(on_fake, on_real, *KINDS[self.kind])

    def discriminator(self, critic: Critic, fake: Tensor, real: Tensor) -> Tensor:
        check_pair(fake, real)
        on_real = _single(critic_logits(critic, real))
        on_fake = _single(critic_logits(critic, fake.detach()))
        self.record(on_real, on_fake)
        loss = relativistic_loss(on_real, on_fake, *KINDS[self.kind])
        if self.gp_weight:
            eps = torch.rand(len(fake), 1, 1, 1, generator=self.random, dtype=fake.dtype, device=fake.device)
            penalty = gradient_penalty(critic, fake, real, eps)
            self.stats['out_d_gp'] = penalty.detach()
            loss = loss + self.gp_weight * penalty
        return loss


def _single(logits: object) -> Tensor:
    if not isinstance(logits, Tensor):
        raise ValueError(f'The discriminator returned {type(logits).__name__}, expected one tensor of logits (B, ...).')
    return logits
