"""MaskNet's grid in its files: recorded in training, taken from there, and contradicted in one line."""

from __future__ import annotations

import pytest
import torch
from basicsr.models import build_model
from small_model import options

from metaf2n_arch.utils.checks import OptionError
from metaf2n_arch.weights.loading import load_mask_net

MASK = {'type': 'MaskNet', 'num_feat': 8, 'num_conv': 3, 'bias_last': 1.0}


@pytest.fixture
def saved(tmp_path) -> str:
    """The MaskNet of a training on the authors' grid."""
    build_model(options(tmp_path, network_m={**MASK, 'upsample': 'authors'})).save(0, 1)
    return str(tmp_path / 'net_m_1.pth')


def resumed(folder, weights: str, **mask: str):
    opt = options(folder, network_m={**MASK, **mask}, is_train=False)
    opt['path']['pretrain_network_m'] = weights
    return build_model(opt)


def test_training_records_the_grid_and_photos_are_restored_with_it(tmp_path, saved):
    assert torch.load(saved, weights_only=True)['options'] == {'upsample': 'authors'}
    assert list(torch.load(tmp_path / 'net_g_1.pth', weights_only=True)) == ['params', 'metaf2n_training']
    assert load_mask_net(saved).upsample == 'authors'


def test_the_model_takes_the_grid_from_the_file(tmp_path, saved):
    assert resumed(tmp_path, saved).net_m.upsample == 'authors'
    assert resumed(tmp_path, saved, upsample='authors').net_m.upsample == 'authors'


def test_another_grid_in_the_option_file_is_one_line(tmp_path, saved):
    with pytest.raises(OptionError, match=r"^network_m.upsample is 'half_pixel', but the weights in .* with 'authors'"):
        resumed(tmp_path, saved, upsample='half_pixel')


def test_a_file_that_records_nothing_is_loaded_as_it_is(tmp_path, saved):
    content = torch.load(saved, weights_only=True)
    torch.save({'params': content['params']}, saved)
    assert resumed(tmp_path, saved).net_m.upsample == 'half_pixel'
    assert resumed(tmp_path, saved, upsample='authors').net_m.upsample == 'authors'
