"""Shells of networks, and devices by name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from metaf2n_arch.utils.checks import OptionError
from metaf2n_arch.utils.modules import emulates_bfloat16, pick_device, shell


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


@pytest.mark.parametrize(
    ('listed', 'expected'),
    [
        ('processor\t: 0\nflags\t\t: fpu sse2 avx2 fma\n', True),
        ('flags\t\t: fpu avx2 avx512f avx512bw\n', False),
        ('Features\t: fp asimd bf16\n', False),  # ARM
        ('', False),
    ],
)
def test_a_cpu_without_bfloat16_is_known_by_its_flags(tmp_path, listed, expected):
    file = tmp_path / 'cpuinfo'
    file.write_text(listed)
    assert emulates_bfloat16(torch.device('cpu'), file) is expected
    assert not emulates_bfloat16(torch.device('cuda'), file)
    assert not emulates_bfloat16(torch.device('cpu'), tmp_path / 'absent')
