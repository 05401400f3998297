"""Hints name what the user meant, and shape checks refuse what they should."""

import pytest
import torch

from metaf2n_arch.utils.checks import OptionError, nearest, require_choice, require_image_batch, require_same_shape


@pytest.mark.parametrize(
    ('typed', 'meant'), [('RaGan', 'RaGAN'), ('ragp', 'RaGP'), ('num_feats', 'num_feat'), ('iner_lr', 'inner_lr')]
)
def test_the_nearest_name_is_found_whatever_its_case(typed, meant):
    assert nearest(typed, ['RaGAN', 'RaGP', 'RaLS', 'num_feat', 'num_block', 'inner_lr']) == f" Did you mean '{meant}'?"


def test_nothing_near_gives_no_hint():
    assert nearest('zzz', ['inner_lr', 'inner_steps']) == ''


def test_a_wrong_choice_names_the_choices():
    require_choice('border', 'image', ['image', 'window'])
    with pytest.raises(OptionError, match=r"border is 'windw', expected one of .*Did you mean 'window'"):
        require_choice('border', 'windw', ['image', 'window'])


def test_images_of_another_shape_or_kind_are_refused():
    require_image_batch('x', torch.zeros(1, 3, 4, 4), channels=3)
    with pytest.raises(ValueError, match=r'x has shape \(3, 4, 4\), expected \(B, 3, H, W\)'):
        require_image_batch('x', torch.zeros(3, 4, 4), channels=3)
    with pytest.raises(ValueError, match='uint8'):
        require_image_batch('x', torch.zeros(1, 3, 4, 4, dtype=torch.uint8))
    with pytest.raises(ValueError, match='must be equal'):
        require_same_shape('a', torch.zeros(2), 'b', torch.zeros(3))
