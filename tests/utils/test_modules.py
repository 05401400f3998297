"""Shells of networks, and devices by name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from metaf2n_arch.utils.checks import OptionError
from metaf2n_arch.utils.modules import pick_device, shell


def test_a_shell_shares_the_weights_and_not_the_structure():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    copy = shell(net)
    assert copy is not net
    assert copy[0] is not net[0]
    tensors = zip([*net.parameters(), *net.buffers()], [*copy.parameters(), *copy.buffers()])
    assert all(a is b for a, b in tensors)


@pytest.mark.parametrize(
    ('there', 'picked'),
    [(('cuda', 'mps'), 'cuda'), (('xpu',), 'xpu'), (('mps',), 'mps'), (('xpu', 'cuda'), 'cuda'), ((), 'cpu')],
)
def test_the_gpu_of_the_machine_is_picked_where_none_is_named(monkeypatch, there, picked):
    for kind, module in (('cuda', torch.cuda), ('xpu', torch.xpu), ('mps', torch.backends.mps)):
        monkeypatch.setattr(module, 'is_available', lambda kind=kind: kind in there)
    assert pick_device(None) == torch.device(picked)


def test_a_device_is_picked_where_none_is_named():
    assert pick_device('cpu') == torch.device('cpu')
    with pytest.raises(OptionError, match=r"device is 'gpu': .*\. Give another one; cpu works everywhere\."):
        pick_device('gpu')
