"""A small generator and a MaskNet, filled by a recipe, and what the authors' TensorFlow program calls their tensors."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from basicsr.archs.rrdbnet_arch import RRDBNet
from torch import Tensor

from metaf2n_arch.archs.mask_net_arch import MaskNet

SMALL = {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 2, 'num_grow_ch': 4}
ARCHITECTURE = {'type': 'RRDBNet', **SMALL}


RECORDED = {**SMALL, 'num_feat': 64, 'num_block': 23, 'num_grow_ch': 32}
"""Sizes of the generator whose numbers were recorded from the authors' program; its kernels are filled with 0.03."""


def networks(scale: float = 0.1, **sizes: int) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The generator, and the MaskNet on the authors' grid."""
    generator, mask = RRDBNet(**{**SMALL, **sizes}), MaskNet(upsample='authors', bias_last=1.0)
    fill(generator, {'weight': scale, 'bias': 0.01})
    fill(mask, {'weight': 0.05})
    return generator, mask


def fill(net: torch.nn.Module, scales: dict[str, float]) -> None:
    """``randn * scale``, from a generator seeded with the checksum of each tensor's name."""
    for key, value in net.requires_grad_(False).eval().state_dict().items():
        scale = scales.get(key.rpartition('.')[2])
        if scale is not None:
            seeded = torch.Generator().manual_seed(zlib.crc32(key.encode()))
            value.copy_(torch.randn(value.shape, generator=seeded) * scale)


def their_variables(generator: torch.nn.Module, mask: torch.nn.Module) -> dict[str, np.ndarray]:
    """What the authors' program calls these tensors, in its layout, written out by hand."""
    found: dict[str, np.ndarray] = {}
    for key, value in generator.state_dict().items():
        found['MODEL/' + '/'.join(key.split('.'))] = hwio(value)
    for number in range(1, 9):
        conv = getattr(mask, f'conv{number}')
        found[f'Mask/conv{number}/kernel'], found[f'Mask/conv{number}/bias'] = hwio(conv.weight), hwio(conv.bias)
    return found


def hwio(value: Tensor) -> np.ndarray:
    array = value.detach().numpy()
    if array.ndim == 1:
        return array.copy()
    turned = np.empty((*array.shape[2:], array.shape[1], array.shape[0]), array.dtype)
    for o in range(array.shape[0]):
        for i in range(array.shape[1]):
            turned[:, :, i, o] = array[o, i]
    return turned
