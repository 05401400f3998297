"""How a batch's loss is a sum over its images: what may be computed image by image, and what may not."""

from __future__ import annotations

import pytest
import torch
from basicsr.archs.discriminator_arch import UNetDiscriminatorSN
from torch import nn

from metaf2n_arch.losses.terms import LossTerms

SPLIT = [
    {'type': 'L1Loss', 'loss_weight': 0.7},
    {'type': 'MSELoss'},
    {'type': 'CharbonnierLoss'},
    {'type': 'FFTLoss'},
    {'type': 'DCTLoss'},
    {'type': 'SpectralLoss'},
    {'type': 'FocalFrequencyLoss'},
    {'type': 'FrequencySeparation', 'band': 'low', 'loss': {'type': 'L1Loss'}},
    {'type': 'SSLLoss', 'criterion': 'kl+l1', 'loss_weight': 100, 'mask_stride': 2},
    {'type': 'SSLLoss', 'loss_weight': 100, 'target': 'gt_usm'},
    {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1},
    {'type': 'GANLoss', 'gan_type': 'hinge', 'loss_weight': 0.1},
    {'type': 'HighFrequencyConfusion', 'loss': {'type': 'GANLoss', 'gan_type': 'lsgan', 'loss_weight': 0.1}},
    {
        'type': 'FrequencySeparation',
        'band': 'high',
        'loss': {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1},
    },
    {'type': 'MaskRegularizerLoss', 'loss_weight': 2.0},
]
WHOLE = [
    {'type': 'L1Loss', 'reduction': 'sum'},
    {'type': 'FocalFrequencyLoss', 'batch_matrix': True},
    {'type': 'FocalFrequencyLoss', 'ave_spectrum': True},
    {'type': 'RelativisticGANLoss', 'kind': 'RaGAN'},
    {'type': 'RelativisticGANLoss', 'kind': 'RcLS'},
    {'type': 'HighFrequencyConfusion', 'loss': {'type': 'RelativisticGANLoss', 'kind': 'RaLS'}},
]


@pytest.fixture
def batch(astronaut_tensor: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Three windows, with very different numbers of edges, the last of them flat; two confidence maps.

    The sharpened targets have edges of their own: only the second is sharpened.
    """
    corners = ((40, 180), (330, 60))
    windows = [astronaut_tensor[0, :, y : y + 32, x : x + 32] for y, x in corners]
    gt = torch.stack([*windows, windows[0].mean((1, 2), keepdim=True).expand(3, 32, 32)])
    noise = 0.05 * torch.randn(gt.shape, generator=torch.Generator().manual_seed(0))
    usm = torch.stack([gt[0], (5 * gt[1] - 4 * gt[1].mean((1, 2), keepdim=True)).clamp(0, 1), gt[2]])
    data = {'gt': gt, 'gt_usm': usm, 'confidence': torch.tensor([0.5, 2.0]).view(2, 1, 1, 1)}
    return (gt + noise).requires_grad_(), data


def image(data: dict[str, torch.Tensor], i: int) -> dict[str, torch.Tensor]:
    return {name: x if name == 'confidence' else x[i : i + 1] for name, x in data.items()}


@pytest.fixture
def critic() -> nn.Module:
    torch.manual_seed(0)
    return UNetDiscriminatorSN(3, 8).eval()


@pytest.mark.parametrize(
    'entry', SPLIT, ids=lambda e: f'{e["type"]}-{e.get("gan_type", e.get("band", e.get("target", "")))}'
)
def test_the_images_alone_add_up_to_the_batch(batch, critic, entry) -> None:
    pred, data = batch
    terms = LossTerms([entry])
    whole, values = terms.generator(pred, data, critic)
    shares = terms.shares(data)
    assert shares is not None
    parts = [terms.generator(pred[i : i + 1], image(data, i), critic, shares=shares[i]) for i in range(3)]
    total = torch.stack([part[0] for part in parts]).sum()
    torch.testing.assert_close(total, whole, rtol=1e-5, atol=1e-7)
    for name, value in values.items():
        found = torch.stack([v[name] for _, v in parts if name in v]).sum()
        torch.testing.assert_close(found, value, rtol=1e-5, atol=1e-7)
    if whole.requires_grad:
        expected, found = torch.autograd.grad(whole, pred)[0], torch.autograd.grad(total, pred)[0]
        assert (found - expected).norm() < 2e-4 * expected.norm()


def test_the_discriminators_images_alone_add_up_as_well(batch, critic) -> None:
    pred, data = batch[0].double(), {name: x.double() for name, x in batch[1].items()}
    critic, terms = critic.double(), LossTerms([{'type': 'GANLoss', 'gan_type': 'vanilla'}]).double()
    whole, values = terms.discriminator(pred, data, critic)
    shares = terms.shares(data)
    assert shares is not None
    parts = [terms.discriminator(pred[i : i + 1], image(data, i), critic, shares=shares[i]) for i in range(3)]
    total = torch.stack([part[0] for part in parts]).sum()
    weights = list(critic.parameters())
    for expected, found in zip(torch.autograd.grad(whole, weights), torch.autograd.grad(total, weights)):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    for name, value in values.items():
        torch.testing.assert_close(torch.stack([v[name] for _, v in parts]).sum(), value, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('entry', WHOLE, ids=str)
def test_a_loss_that_compares_images_with_each_other_is_left_whole(batch, critic, entry) -> None:
    pred, data = batch
    terms = LossTerms([{'type': 'MSELoss'}, entry])
    assert terms.shares(data) is None
    whole, _ = LossTerms([entry]).generator(pred, data, critic)
    alone = [LossTerms([entry]).generator(pred[i : i + 1], image(data, i), critic)[0] / 3 for i in range(3)]
    assert abs(torch.stack(alone).sum() - whole) > 1e-4 * abs(whole), 'splitting would have changed it'


def test_a_term_that_waits_for_its_first_iteration_does_not_count(batch) -> None:
    terms = LossTerms([{'type': 'L1Loss'}, {'type': 'L1Loss', 'name': 'sum', 'reduction': 'sum', 'start_iter': 5}])
    assert terms.shares(batch[1], 4) is not None
    assert terms.shares(batch[1], 5) is None
