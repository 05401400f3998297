"""Parts by name: those of ours, and those that the host files under a suffix."""

from __future__ import annotations

import pytest
from basicsr.archs.srvgg_arch import SRVGGNetCompact
from basicsr.utils.registry import ARCH_REGISTRY

from metaf2n_arch.archs.mask_net_arch import MaskNet
from metaf2n_arch.utils.checks import OptionError
from metaf2n_arch.utils.registries import build, find, names, require


def test_a_name_is_found_with_and_without_the_hosts_suffix():
    assert find(ARCH_REGISTRY, 'MaskNet') is MaskNet
    assert find(ARCH_REGISTRY, 'SRVGGNetCompact') is find(ARCH_REGISTRY, 'SRVGGNetCompact_basicsr') is SRVGGNetCompact
    assert find(ARCH_REGISTRY, 'MaskNett') is None
    assert {'MaskNet', 'SRVGGNetCompact'} < set(names(ARCH_REGISTRY))
    assert not [name for name in names(ARCH_REGISTRY) if name.endswith('_basicsr')]


@pytest.mark.parametrize('name', ['SRVGGNetCompac', None, 3, ['MaskNet'], {'type': 'MaskNet'}])
def test_what_names_no_part_is_one_line_with_the_nearest_name_as_option_files_spell_it(name):
    with pytest.raises(OptionError, match=r'^network_g\.type is .*, which is not registered') as error:
        require(ARCH_REGISTRY, name, 'network_g.type')
    if name == 'SRVGGNetCompac':
        assert str(error.value).endswith("Did you mean 'SRVGGNetCompact'?")


def test_a_part_is_built_from_its_block_which_stays_as_it_is():
    block = {'type': 'MaskNet', 'num_feat': 4, 'num_conv': 3}
    net = build(ARCH_REGISTRY, block, 'network_m')
    assert isinstance(net, MaskNet)
    assert net.conv1.weight.shape == (4, 6, 3, 3)
    assert block == {'type': 'MaskNet', 'num_feat': 4, 'num_conv': 3}


@pytest.mark.parametrize(
    ('block', 'message'),
    [
        ('MaskNet', "network_m is 'MaskNet', expected a block with a type"),
        ({'num_feat': 4}, 'expected a block with a type'),
        ({'type': 'MaskNet', 'num_feats': 4}, 'network_m: MaskNet cannot be built with .*num_feats'),
        ({'type': 'MaskNet', 'num_conv': 1}, 'network_m: MaskNet cannot be built with .* expected at least 2'),
    ],
)
def test_a_wrong_block_is_one_line(block, message):
    with pytest.raises(OptionError, match=message):
        build(ARCH_REGISTRY, block, 'network_m')
