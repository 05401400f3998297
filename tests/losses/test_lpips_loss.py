"""LPIPSLoss against the lpips package, both reading the same made-up trunk files from torch's download folder."""

from __future__ import annotations

import warnings

import made_up_weights
import pytest
import torch

from metaf2n_arch.archs.lpips_network import TRUNKS
from metaf2n_arch.losses.lpips_loss import LPIPSLoss
from metaf2n_arch.utils.checks import DataError, OptionError
from metaf2n_arch.weights.search import cache_folder


@pytest.mark.parametrize('net', ['alex', 'squeeze', pytest.param('vgg', marks=pytest.mark.slow)])
def test_equals_the_lpips_package_and_its_gradient(net, checkpoints, photos) -> None:
    import lpips

    torch.save(made_up_weights.trunk(net), checkpoints / TRUNKS[net].filename)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        reference = lpips.LPIPS(net=net, verbose=False)
    loss = LPIPSLoss(net=net, loss_weight=0.5).train()
    pred, target = photos
    ours, theirs = pred.clone().requires_grad_(), pred.clone().requires_grad_()
    value, expected = loss(ours, target), 0.5 * reference(theirs, target, normalize=True).mean()
    torch.testing.assert_close(value, expected)
    assert value > 0
    value.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_is_zero_for_equal_images_and_frozen(checkpoints, photos) -> None:
    torch.save(made_up_weights.trunk('alex'), checkpoints / TRUNKS['alex'].filename)
    loss = LPIPSLoss().train()
    assert loss(photos[1], photos[1]).item() == 0
    assert not any(p.requires_grad for p in loss.parameters())
    assert not loss.network.training


def test_a_missing_trunk_says_which_file_goes_where(checkpoints) -> None:
    with pytest.raises(DataError) as error:
        LPIPSLoss(net='alex')
    message = str(error.value)
    assert 'alexnet-owt-7be5be79.pth' in message
    assert f'.pth into {cache_folder()}' in message
    assert 'metaf2n weights fetch lpips_alex' in message
    assert 'https://download.pytorch.org/models/alexnet-owt-7be5be79.pth' in message
    assert 'sha256 7be5be79' in message
    assert '\n' not in message
    assert list(checkpoints.iterdir()) == []


def test_a_trunk_elsewhere_can_be_named(checkpoints, tmp_path, photos) -> None:
    torch.save(made_up_weights.trunk('alex'), tmp_path / 'mine.pth')
    assert LPIPSLoss(trunk_path=str(tmp_path / 'mine.pth'))(*photos) > 0
    with pytest.raises(DataError, match=r'absent\.pth does not exist'):
        LPIPSLoss(trunk_path='absent.pth')


def test_damaged_and_foreign_trunks_are_named(checkpoints) -> None:
    file = checkpoints / TRUNKS['alex'].filename
    file.write_bytes(b'half a download')
    with pytest.raises(DataError, match=r'cannot be read as a checkpoint.* published: sha256 7be5be79.*\. Delete it'):
        LPIPSLoss()
    torch.save({'conv.weight': torch.zeros(1)}, file)
    with pytest.raises(DataError, match=r'10 missing \(slice1\.0\.weight'):
        LPIPSLoss()
    torch.save({**made_up_weights.trunk('alex'), 'features.0.weight': torch.zeros(1)}, file)
    with pytest.raises(DataError, match=r'\(1,\) in the file, \(64, 3, 11, 11\) in the network'):
        LPIPSLoss()


@pytest.mark.parametrize(
    ('pred', 'target', 'message'),
    [
        (torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 60), 'must be equal'),
        (torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 64, 64), r'expected \(B, 3, H, W\)'),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), torch.zeros(1, 3, 64, 64), 'floating-point'),
        (torch.zeros(1, 3, 30, 64), torch.zeros(1, 3, 30, 64), 'needs images of 31x31'),
    ],
)
def test_bad_images_are_refused(pred, target, message, checkpoints) -> None:
    torch.save(made_up_weights.trunk('alex'), checkpoints / TRUNKS['alex'].filename)
    with pytest.raises(ValueError, match=message):
        LPIPSLoss()(pred, target)


def test_an_unknown_net_gets_the_nearest_name() -> None:
    with pytest.raises(OptionError, match="Did you mean 'squeeze'"):
        LPIPSLoss(net='squeez')
