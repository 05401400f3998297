"""The networks behind LPIPS, built from files that are on this machine."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

from torch import nn

from metaf2n_arch.utils.checks import DataError, require_choice
from metaf2n_arch.weights.pretrained import find_weights, read_weights, select_weights


class Trunk(NamedTuple):
    """A classification network published by torchvision, and the smallest image side its features exist for."""

    filename: str
    sha256_prefix: str
    smallest: int

    @property
    def url(self) -> str:
        return f'https://download.pytorch.org/models/{self.filename}'


TRUNKS = {
    'alex': Trunk('alexnet-owt-7be5be79.pth', '7be5be79', 31),
    'vgg': Trunk('vgg16-397923af.pth', '397923af', 16),
    'squeeze': Trunk('squeezenet1_1-b8a52dc0.pth', 'b8a52dc0', 17),
}


def build_lpips(net: str, trunk_path: str | None = None) -> nn.Module:
    """Returns the `lpips` package's network, frozen, in evaluation mode, without any download.

    The linear heads come with the package. The trunk (ImageNet weights, torchvision) is read from `trunk_path`, or from
    the folder torch downloads into.

    Raises:
        OptionError: for an unknown `net`.
        DataError: if the trunk is missing or belongs to another network.
    """
    require_choice('LPIPS net', net, TRUNKS)
    trunk = TRUNKS[net]
    path = _trunk_file(net, trunk, trunk_path)

    import lpips

    with warnings.catch_warnings():  # the package still passes torchvision's old `pretrained` flag
        warnings.simplefilter('ignore')
        network = lpips.LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False)

    heads = Path(lpips.__file__).parent / 'weights' / f'v{network.version}' / f'{net}.pth'
    weights = read_weights(heads)
    # a slice of the trunk keeps torchvision's layer numbers: slice2.3.weight is features.3.weight
    wanted = {f'net.{k}': ('features.' + k.split('.', 1)[1], v.shape) for k, v in network.net.state_dict().items()}
    weights.update(select_weights(read_weights(path, trunk.sha256_prefix), wanted, path))
    missing = network.load_state_dict(weights, strict=False).missing_keys
    # the scaling constants and the list `lins` (the heads once more) are not in the files
    lost = [k for k in missing if not k.startswith(('scaling_layer.', 'lins.'))]
    if lost:
        raise DataError(f'{heads} lacks {lost[0]!r}; reinstall the lpips package.')
    return network.eval().requires_grad_(False)


def _trunk_file(net: str, trunk: Trunk, trunk_path: str | None) -> Path:
    if trunk_path is None:
        return find_weights(trunk.filename, trunk.url, trunk.sha256_prefix, what=f'LPIPS ({net})')
    if not Path(trunk_path).is_file():
        raise DataError(f'LPIPS ({net}): trunk_path {trunk_path} does not exist; it is published at {trunk.url}.')
    return Path(trunk_path)
