"""The mask regulariser against its equation."""

from __future__ import annotations

import torch

from metaf2n_arch.losses.mask_regularizer_loss import MaskRegularizerLoss


def test_mask_regularizer_equals_its_equation_and_gradient() -> None:
    confidence = torch.rand(2, 1, 5, 7, dtype=torch.float64, requires_grad=True)
    loss = MaskRegularizerLoss(0.002)(confidence)
    wanted = 0.002 * sum((w - 1) ** 2 for w in confidence.flatten().tolist()) / confidence.numel() / 2
    torch.testing.assert_close(loss.item(), wanted)
    (gradient,) = torch.autograd.grad(loss, confidence)
    torch.testing.assert_close(gradient, 0.002 * (confidence.detach() - 1) / confidence.numel())


def test_mask_regularizer_is_zero_for_full_confidence() -> None:
    assert MaskRegularizerLoss()(torch.ones(1, 1, 4, 4)) == 0


def test_mask_regularizer_is_found_by_its_name_in_an_option_file() -> None:
    from basicsr.losses import build_loss

    loss = build_loss({'type': 'MaskRegularizerLoss', 'loss_weight': 2.0})
    assert loss.inputs == ('confidence',)
    assert loss(torch.zeros(1, 1, 2, 2)) == 1.0
