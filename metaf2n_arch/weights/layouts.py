"""Layouts of published weights files with other tensor names than BasicSR's networks: renames their tensors.

The weights of the compared models were published before BasicSR had its present networks. Tensors and shapes are the
same, only the names differ, so the original files can be evaluated.
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

# Each layout maps names of layers in the file to names in BasicSR's network. A file has a layout if all of its names
# match. Layers with an empty name are constants, which the network gets from its options.
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
    # RRDB_ESRGAN_x4.pth, RRDB_PSNR_x4.pth, and files of trainings with mmsr
    'RRDBNet of ESRGAN, 2019': {
        'conv_first': 'conv_first',
        r'RRDB_trunk\.(\d+)\.RDB(\d)\.conv(\d)': r'body.\1.rdb\2.conv\3',
        'trunk_conv': 'conv_body',
        r'upconv(\d)': r'conv_up\1',
        'HRconv': 'conv_hr',
        'conv_last': 'conv_last',
    },
    # RankSRGAN_NIQE.pth and others of the same authors: one nn.Sequential
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
    # mmsr_RankSRGAN_NIQE.pth and others of the same authors; without LRconv it is the MSRResNet of mmsr
    'SRResNet of RankSRGAN, 2020': {
        'conv_first': 'conv_first',
        r'recon_trunk\.(\d+)\.conv(\d)': r'body.\1.conv\2',
        'LRconv': 'conv_after_body',
        r'upconv(\d)': r'upconv\1',
        'HRconv': 'conv_hr',
        'conv_last': 'conv_last',
    },
    # edsr_x4-4f62e9ef.pt and others of the same authors
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
    """Returns the state dict of a file with its tensors renamed to the names in `net`.

    A state dict that has these names already, or has no known layout, is returned unchanged. From a file with several
    networks, as Lightning writes it, the network with these names is returned.

    Args:
        net: the network that it will be loaded into.
        state: state dict of the file.
        path: the file, for messages.

    Raises:
        DataError: the file subtracts another mean colour than `net`, or has several networks with these names.
    """
    own_names: Any = getattr(net, 'in_own_names', None)
    if own_names is not None:  # networks of spandrel convert their own files
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
    """The state dict of an RRDBNet of ESRGAN's authors with BasicSR's names; None if `state` has another layout."""
    layouts = (rules for name, rules in LAYOUTS.items() if name.startswith('RRDBNet'))
    return next((found for rules in layouts if (found := _in_layout(state, rules)) is not None), None)


def _in_layout(state: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor] | None:
    """The state dict with BasicSR's names; None if one of its names does not match this layout."""
    names = {name: _renamed(name, rules) for name in state}
    return None if None in names.values() else {new: state[old] for old, new in names.items() if new}


def _renamed(name: str, rules: Rules) -> str | None:
    """The name of a tensor in BasicSR's network; '' for a constant; None if the name does not match this layout."""
    layer, dot, kind = name.rpartition('.')
    for pattern, replacement in rules.items():
        match = re.fullmatch(pattern, layer)
        if match:
            return match.expand(replacement) + dot + kind if replacement else ''
    return None


def _check_mean_colours(net: nn.Module, state: Mapping[str, Tensor], path: str | Path) -> None:
    """Raises `DataError` if the mean colour in EDSR's file, a layer, differs from that in the options of the network.

    The file has the mean of images in [0, 255].
    """
    stored, mean = state.get('sub_mean.bias'), getattr(net, 'mean', None)
    if stored is None or mean is None:
        return
    expected = mean.flatten() * net.img_range
    if stored.shape != expected.shape or not torch.allclose(-stored, expected, rtol=1e-3):
        raise DataError(
            f'{path}: it was trained on images from which {_rounded(-stored)} is subtracted, but the options of '
            f'{type(net).__name__} subtract {_rounded(expected)}; set img_range and rgb_mean to those of the training.'
        )


def _rounded(colours: Tensor) -> list[float]:
    return [round(value, 3) for value in colours.flatten().tolist()]
