"""DISTSLoss against pyiqa's DISTS, both with the same made-up weights; properties; missing files."""

from __future__ import annotations

import made_up_weights
import pytest
import torch
from torch import Tensor

from metaf2n_arch.archs.dists_network import L2Pool
from metaf2n_arch.archs.lpips_network import TRUNKS
from metaf2n_arch.losses.dists_loss import DISTSLoss
from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.weights.search import table


@pytest.fixture
def weights(checkpoints):
    """Both files in place."""
    torch.save(made_up_weights.trunk('vgg'), checkpoints / TRUNKS['vgg'].filename)
    torch.save(made_up_weights.dists(), checkpoints / table()['dists'].file)
    return checkpoints


def test_equals_pyiqa_and_its_gradient(weights, photos) -> None:
    from pyiqa.archs.dists_arch import DISTS

    reference = DISTS(pretrained_model_path=str(weights / table()['dists'].file)).eval()
    pred, target = (x[..., :48, :56] for x in photos)
    ours, theirs = pred.clone().requires_grad_(), pred.clone().requires_grad_()
    value, expected = DISTSLoss(loss_weight=0.5)(ours, target), 0.5 * reference(theirs, target).mean()
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)
    assert value > 1e-3
    value.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-2, atol=1e-3 * theirs.grad.abs().max().item())


def test_is_zero_for_equal_images_symmetric_and_frozen(weights, photos) -> None:
    loss = DISTSLoss()
    first, second = (x[..., :40, :40] for x in photos)
    assert abs(loss(second, second).item()) < 1e-6
    torch.testing.assert_close(loss(first, second), loss(second, first))
    assert not any(p.requires_grad for p in loss.parameters())


def test_one_image_by_hand_on_the_first_stage(weights) -> None:
    """With the weight on the pixels alone, DISTS is the textbook formula on the three colours."""
    network = DISTSLoss().network
    network.alpha.data.zero_()[:, :3] = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)
    network.beta.data.zero_()[:, 0] = 2.0
    x, y = torch.rand(2, 1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = 1.0
    for c, (a, b) in enumerate([(1, 2), (2, 0), (3, 0)]):
        p, q = x[0, c].double(), y[0, c].double()
        covariance = ((p - p.mean()) * (q - q.mean())).mean()
        texture = (2 * p.mean() * q.mean() + 1e-6) / (p.mean() ** 2 + q.mean() ** 2 + 1e-6)
        structure = (2 * covariance + 1e-6) / (p.var(correction=0) + q.var(correction=0) + 1e-6)
        expected -= (a * texture + b * structure).item() / 8
    assert network(x, y).item() == pytest.approx(expected, rel=1e-5)


def test_l2_pooling_of_a_constant_keeps_it_and_halves_the_sides() -> None:
    pooled = L2Pool()(torch.full((1, 2, 8, 10), 3.0))
    assert pooled.shape == (1, 2, 4, 5)
    torch.testing.assert_close(pooled[..., 1:, 1:], torch.full((1, 2, 3, 4), 3.0))


def test_missing_files_are_named_one_by_one(checkpoints) -> None:
    with pytest.raises(DataError, match=r'DISTS needs the file vgg16-397923af\.pth, .*metaf2n weights fetch lpips_vgg'):
        DISTSLoss()
    torch.save(made_up_weights.trunk('vgg'), checkpoints / TRUNKS['vgg'].filename)
    with pytest.raises(DataError, match=r'DISTS_weights-f5e65c96\.pth.*https://huggingface\.co'):
        DISTSLoss()


def test_bad_images_are_refused(weights) -> None:
    loss = DISTSLoss()
    with pytest.raises(ValueError, match='must be equal'):
        loss(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 9))
    with pytest.raises(ValueError, match=r'expected \(B, 3, H, W\)'):
        loss(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8))
    assert isinstance(loss(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8)), Tensor)
