"""Weights files of the compared models as their authors laid them out, with random values, and what each computes.

Names, shapes and order of the layers are those of the authors' own programs; the forward passes are written once more
here from these, function by function and on the names in the file, so that nothing of the package is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]
Shapes = Callable[[int, int], list[tuple[str, int, int]]]
Forward = Callable[[State, Tensor], Tensor]
MEAN = (0.4488, 0.4371, 0.4040)


@dataclass(frozen=True)
class Published:
    """A file's layout: which tensors it holds, what is computed with them, and the options of the network.

    Attributes:
        shapes: (features, blocks) -> (name of a layer, channels out, channels in), without constants.
        forward: the file's tensors, a batch -> the enlarged batch.
        network: ``network_g`` without the sizes.
        sizes: (features, blocks) as published.
        key: of the state dict in BasicSR's own files, which are in the format that torch writes since 1.6; the others
            are bare, in the format before.
    """

    shapes: Shapes
    forward: Forward
    network: dict[str, Any]
    sizes: tuple[int, int]
    key: str | None = None

    def state(self, features: int, blocks: int) -> State:
        torch.manual_seed(0)
        state: State = {}
        for name, out, into in self.shapes(features, blocks):
            state[f'{name}.weight'] = torch.randn(out, into, 3, 3) * (1 / (9 * into)) ** 0.5
            state[f'{name}.bias'] = 0.05 * torch.randn(out)
        if self.network['type'] == 'EDSR' and self.key is None:
            for name, sign in (('sub_mean', -1), ('add_mean', 1)):
                state[f'{name}.weight'] = torch.eye(3).view(3, 3, 1, 1)
                state[f'{name}.bias'] = sign * 255 * torch.tensor(MEAN)
        return state

    def write(self, path: Path, features: int, blocks: int) -> State:
        state = self.state(features, blocks)
        content = {self.key: state} if self.key else state
        torch.save(content, path, _use_new_zipfile_serialization=self.key is not None)
        return state

    def options(self, features: int, blocks: int) -> dict[str, Any]:
        return {**self.network, 'num_feat': features, 'num_block': blocks}


class Names(NamedTuple):
    """The layers of a file in the order of the network; `inner` and `trunk` with places for the numbers of blocks."""

    first: str
    inner: tuple[str, ...]
    trunk: str
    ups: tuple[str, str]
    hr: str
    last: str


def conv(state: State, name: str, x: Tensor) -> Tensor:
    return F.conv2d(x, state[f'{name}.weight'], state[f'{name}.bias'], padding=1)


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def twice(x: Tensor) -> Tensor:
    """Nearest neighbour."""
    return x.repeat_interleave(2, -1).repeat_interleave(2, -2)


def count(state: State, name: str) -> int:
    """How many blocks have the name, a place for their number in it."""
    return next(i for i in range(99) if name.format(i) not in state)


def rrdb_shapes(names: Names) -> Shapes:
    def shapes(features: int, blocks: int) -> list[tuple[str, int, int]]:
        grow = 4 if features < 64 else 32
        layers = [(names.first, features, 3)]
        for block in range(blocks):
            for dense in (1, 2, 3):
                for i in (1, 2, 3, 4, 5):
                    name = names.inner[0].format(block, dense, i)
                    layers.append((name, features if i == 5 else grow, features + (i - 1) * grow))
        layers += [(name, features, features) for name in (names.trunk.format(blocks), *names.ups, names.hr)]
        return [*layers, (names.last, 3, features)]

    return shapes


def rrdb_forward(names: Names) -> Forward:
    def forward(state: State, x: Tensor) -> Tensor:
        inner = names.inner[0]
        blocks = count(state, inner.format('{}', 1, 1) + '.weight')
        start = feature = conv(state, names.first, x)
        for block in range(blocks):
            entry = feature
            for dense in (1, 2, 3):
                seen = feature
                for i in (1, 2, 3, 4):
                    seen = torch.cat([seen, leaky(conv(state, inner.format(block, dense, i), seen))], 1)
                feature = 0.2 * conv(state, inner.format(block, dense, 5), seen) + feature
            feature = 0.2 * feature + entry
        feature = start + conv(state, names.trunk.format(blocks), feature)
        for up in names.ups:
            feature = leaky(conv(state, up, twice(feature)))
        return conv(state, names.last, leaky(conv(state, names.hr, feature)))

    return forward


def residual_shapes(names: Names) -> Shapes:
    def shapes(features: int, blocks: int) -> list[tuple[str, int, int]]:
        layers = [(names.first, features, 3)]
        layers += [(name.format(block), features, features) for block in range(blocks) for name in names.inner]
        layers.append((names.trunk.format(blocks), features, features))
        layers += [(up, 4 * features, features) for up in names.ups]
        layers += [(names.hr, features, features)] if names.hr else []
        return [*layers, (names.last, 3, features)]

    return shapes


def srresnet_forward(names: Names) -> Forward:
    def forward(state: State, x: Tensor) -> Tensor:
        feature = residual_blocks(names, state, conv(state, names.first, x), 1)
        for up in names.ups:
            feature = F.pixel_shuffle(conv(state, up, feature), 2).clamp_min(0)
        return conv(state, names.last, conv(state, names.hr, feature).clamp_min(0))

    return forward


def edsr_forward(names: Names) -> Forward:
    def forward(state: State, x: Tensor) -> Tensor:
        """Images in [0, 255] inside, residuals times 0.1, no activation while enlarging."""
        mean = torch.tensor(MEAN).view(1, 3, 1, 1)
        feature = residual_blocks(names, state, conv(state, names.first, 255 * x - 255 * mean), 0.1)
        for up in names.ups:
            feature = F.pixel_shuffle(conv(state, up, feature), 2)
        return conv(state, names.last, feature) / 255 + mean

    return forward


def residual_blocks(names: Names, state: State, start: Tensor, factor: float) -> Tensor:
    feature = start
    blocks = count(state, names.inner[0] + '.weight')
    for block in range(blocks):
        hidden = conv(state, names.inner[0].format(block), feature).clamp_min(0)
        feature = feature + factor * conv(state, names.inner[1].format(block), hidden)
    return start + conv(state, names.trunk.format(blocks), feature)


ESRGAN_2018 = Names(
    'model.0', ('model.1.sub.{}.RDB{}.conv{}.0',), 'model.1.sub.{}', ('model.3', 'model.6'), 'model.8', 'model.10'
)
ESRGAN_2019 = Names(
    'conv_first', ('RRDB_trunk.{}.RDB{}.conv{}',), 'trunk_conv', ('upconv1', 'upconv2'), 'HRconv', 'conv_last'
)
ESRGAN_HOST = Names(
    'conv_first', ('body.{}.rdb{}.conv{}',), 'conv_body', ('conv_up1', 'conv_up2'), 'conv_hr', 'conv_last'
)
RANK_2019 = Names(
    first='model.0',
    inner=('model.1.sub.{}.res.0', 'model.1.sub.{}.res.2'),
    trunk='model.1.sub.{}',
    ups=('model.2', 'model.5'),
    hr='model.8',
    last='model.10',
)
RANK_2020 = Names(
    first='conv_first',
    inner=('recon_trunk.{}.conv1', 'recon_trunk.{}.conv2'),
    trunk='LRconv',
    ups=('upconv1', 'upconv2'),
    hr='HRconv',
    last='conv_last',
)
EDSR_AUTHORS = Names('head.0', ('body.{}.body.0', 'body.{}.body.2'), 'body.{}', ('tail.0.0', 'tail.0.2'), '', 'tail.1')
EDSR_HOST = Names(
    first='conv_first',
    inner=('body.{}.conv1', 'body.{}.conv2'),
    trunk='conv_after_body',
    ups=('upsample.0', 'upsample.2'),
    hr='',
    last='conv_last',
)
RRDB = {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'scale': 4}
RANK = {'type': 'SRResNet', 'upscale': 4}
EDSR = {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'upscale': 4, 'res_scale': 0.1, 'img_range': 255.0}


def _rrdb(names: Names, key: str | None = None) -> Published:
    return Published(rrdb_shapes(names), rrdb_forward(names), RRDB, (64, 23), key)


def _rank(names: Names) -> Published:
    return Published(residual_shapes(names), srresnet_forward(names), RANK, (64, 16))


def _edsr(names: Names, key: str | None = None) -> Published:
    return Published(residual_shapes(names), edsr_forward(names), EDSR, (256, 32), key)


PUBLISHED = {
    'RRDB_ESRGAN_x4_old_arch.pth': _rrdb(ESRGAN_2018),
    'RRDB_PSNR_x4.pth': _rrdb(ESRGAN_2019),
    'ESRGAN_SRx4_DF2KOST_official-ff704c30.pth': _rrdb(ESRGAN_HOST, 'params'),
    'RankSRGAN_NIQE.pth': _rank(RANK_2019),
    'mmsr_RankSRGAN_NIQE.pth': _rank(RANK_2020),
    'edsr_x4-4f62e9ef.pt': _edsr(EDSR_AUTHORS),
    'EDSR_Lx4_f256b32_DIV2K_official-76ee1c8f.pth': _edsr(EDSR_HOST, 'params'),
}
