"""LPIPS networks, built from weights files on this machine."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

from torch import nn

from metaf2n_arch.utils.checks import DataError, require_choice
from metaf2n_arch.weights.files import load_state_dict
from metaf2n_arch.weights.published_networks import load_published
from metaf2n_arch.weights.search import table


class Trunk(NamedTuple):
    """A classification network: the name of its published weights, and the smallest image side that it accepts."""

    weights: str
    smallest: int

    @property
    def filename(self) -> str:
        return table()[self.weights].file


TRUNKS = {'alex': Trunk('lpips_alex', 31), 'vgg': Trunk('lpips_vgg', 16), 'squeeze': Trunk('lpips_squeeze', 17)}


def build_lpips(net: str, trunk_path: str | None = None) -> nn.Module:
    """Returns the `lpips` package's network, frozen, in evaluation mode, without any download.

    The linear heads are part of the package. The trunk (ImageNet weights, torchvision) is read from `trunk_path`, or
    found on the search path of weights files.

    Raises:
        OptionError: for an unknown `net`.
        DataError: if the weights of the trunk are missing or belong to another network.
    """
    require_choice('LPIPS net', net, TRUNKS)
    import lpips

    with warnings.catch_warnings():  # the package still passes torchvision's old `pretrained` flag
        warnings.simplefilter('ignore')
        network = lpips.LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False)

    # a slice of the trunk keeps torchvision's layer numbers: slice2.3.weight is features.3.weight
    load_published(
        network.net,
        TRUNKS[net].weights,
        lambda name: 'features.' + name.split('.', 1)[1],
        trunk_path,
        what=f'LPIPS ({net})',
    )
    heads = Path(lpips.__file__).parent / 'weights' / f'v{network.version}' / f'{net}.pth'
    missing = network.load_state_dict(load_state_dict(heads, None), strict=False).missing_keys
    # the scaling constants and the list `lins` (the heads once more) are not in the file, the trunk is loaded already
    lost = [k for k in missing if not k.startswith(('scaling_layer.', 'lins.', 'net.'))]
    if lost:
        raise DataError(f'{heads} lacks {lost[0]!r}; reinstall the lpips package.')
    return network.eval().requires_grad_(False)
