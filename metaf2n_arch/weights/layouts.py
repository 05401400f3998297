"""Published weights files whose tensors have other names than in BasicSR's networks, under BasicSR's names.

The weights of the compared models were published by their authors before BasicSR had its present networks. The same
tensors lie there in the same shapes; only names differ, so that they can be evaluated from their own files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.weights.unwrapping import without_prefix

Rules = Mapping[str, str]

# Each maps the name of a layer in the file to its name in the network of BasicSR; a layout is recognised where every
# name in a file is one of it. An empty name is a constant, which the network has from its options.
LAYOUTS: Mapping[str, Rules] = {
    # RRDB_ESRGAN_x4_old_arch.pth, RRDB_PSNR_x4_old_arch.pth: one nn.Sequential
    'RRDBNet of ESRGAN, 2018': {
        r'model\.0': 'conv_first',
        r'model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0': r'body.\1.rdb\2.conv\3',
        r'model\.1\.sub\.\d+': 'conv_body',
        r'model\.3': 'conv_up1',
        r'model\.6': 'conv_up2',
        r'model\.8': 'conv_hr',
        r'model\.10': 'conv_last',
    },
    # RRDB_ESRGAN_x4.pth, RRDB_PSNR_x4.pth, and what mmsr trained
    'RRDBNet of ESRGAN, 2019': {
        'conv_first': 'conv_first',
        r'RRDB_trunk\.(\d+)\.RDB(\d)\.conv(\d)': r'body.\1.rdb\2.conv\3',
        'trunk_conv': 'conv_body',
        r'upconv(\d)': r'conv_up\1',
        'HRconv': 'conv_hr',
        'conv_last': 'conv_last',
    },
    # RankSRGAN_NIQE.pth and its like: one nn.Sequential
    'SRResNet of RankSRGAN, 2019': {
        r'model\.0': 'conv_first',
        r'model\.1\.sub\.(\d+)\.res\.0': r'body.\1.conv1',
        r'model\.1\.sub\.(\d+)\.res\.2': r'body.\1.conv2',
        r'model\.1\.sub\.\d+': 'conv_after_body',
        r'model\.2': 'upconv1',
        r'model\.5': 'upconv2',
        r'model\.8': 'conv_hr',
        r'model\.10': 'conv_last',
    },
    # mmsr_RankSRGAN_NIQE.pth and its like; without LRconv it is mmsr's MSRResNet
    'SRResNet of RankSRGAN, 2020': {
        'conv_first': 'conv_first',
        r'recon_trunk\.(\d+)\.conv(\d)': r'body.\1.conv\2',
        'LRconv': 'conv_after_body',
        r'upconv(\d)': r'upconv\1',
        'HRconv': 'conv_hr',
        'conv_last': 'conv_last',
    },
    # edsr_x4-4f62e9ef.pt and its like
    'EDSR of its authors': {
        r'(sub|add)_mean': '',
        r'head\.0': 'conv_first',
        r'body\.(\d+)\.body\.0': r'body.\1.conv1',
        r'body\.(\d+)\.body\.2': r'body.\1.conv2',
        r'body\.\d+': 'conv_after_body',
        r'tail\.0\.(\d)': r'upsample.\1',
        r'tail\.1': 'conv_last',
    },
}


def in_names_of(net: nn.Module, state: Mapping[str, Tensor], path: str | Path) -> dict[str, Tensor]:
    """Returns the state dict of a published file under the names that `net` has for its tensors.

    A file that has these names already, or that is of no known layout, is returned as it is. Of a file of several
    networks, as Lightning writes it, the one that has these names is taken.

    Args:
        net: what it will be loaded into.
        state: what the file holds.
        path: the file, for the message.

    Raises:
        DataError: the file subtracts other mean colours than `net` does, or holds such a network twice.
    """
    own_names: Any = getattr(net, 'in_own_names', None)
    if own_names is not None:  # networks of spandrel know what their files look like
        return dict(own_names(state, path))
    wanted = net.state_dict().keys()
    state = without_prefix(state, wanted, path)
    for rules in LAYOUTS.values():
        renamed = _in_layout(state, rules)
        if renamed is not None and len(renamed.keys() & wanted) > len(state.keys() & wanted):
            _check_mean_colours(net, state, path)
            return renamed
    return dict(state)


def renamed_rrdb(state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The state dict of an RRDBNet that ESRGAN's authors published, under BasicSR's names; None if it is none."""
    layouts = (rules for name, rules in LAYOUTS.items() if name.startswith('RRDBNet'))
    return next((found for rules in layouts if (found := _in_layout(state, rules)) is not None), None)


def _in_layout(state: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor] | None:
    """The state dict under BasicSR's names; None if one of its names is not of this layout."""
    names = {name: _renamed(name, rules) for name in state}
    return None if None in names.values() else {new: state[old] for old, new in names.items() if new}


def _renamed(name: str, rules: Rules) -> str | None:
    """The name of a tensor in BasicSR's network, '' if it has none there, None if it is not of this layout."""
    layer, dot, kind = name.rpartition('.')
    for pattern, replacement in rules.items():
        match = re.fullmatch(pattern, layer)
        if match:
            return match.expand(replacement) + dot + kind if replacement else ''
    return None


def _check_mean_colours(net: nn.Module, state: Mapping[str, Tensor], path: str | Path) -> None:
    """EDSR's file holds the mean colours, of images in [0, 255], as a layer; the network has them from its options."""
    stored, mean = state.get('sub_mean.bias'), getattr(net, 'mean', None)
    if stored is None or mean is None:
        return
    expected = mean.flatten() * net.img_range
    if stored.shape != expected.shape or not torch.allclose(-stored, expected, rtol=1e-3):
        raise DataError(
            f'{path}: it was trained on images from which {_rounded(-stored)} is subtracted, the options of '
            f'{type(net).__name__} subtract {_rounded(expected)}; set img_range and rgb_mean to its own.'
        )


def _rounded(colours: Tensor) -> list[float]:
    return [round(value, 3) for value in colours.flatten().tolist()]
