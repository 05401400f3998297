"""LPIPS as a training loss."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple

from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

from metaf2n_arch.losses.pair import require_pair
from metaf2n_arch.utils.checks import DataError, require_choice
from metaf2n_arch.utils.pretrained import find_weights, read_weights, select_weights


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
    require_choice('LPIPSLoss net', net, TRUNKS)
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


@LOSS_REGISTRY.register()
class LPIPSLoss(nn.Module):
    """Learned perceptual distance (Zhang et al., "The Unreasonable Effectiveness of Deep Features", CVPR 2018).

    L = Σ_l mean_hw ‖w_l ⊙ (φ̂_l(x) - φ̂_l(y))‖², φ̂_l the channel-normalised activations of layer l of a frozen trunk
    and w_l the learned heads (version 0.1), averaged over the batch. It equals the `lpips` package on 2·x - 1.

    Args:
        net: the trunk, ``alex`` (MetaF2N and its evaluation), ``vgg`` or ``squeeze``.
        loss_weight: factor of the result.
        trunk_path: the trunk's weights file; found in torch's download folder if left out.

    Raises:
        OptionError: for an unknown trunk.
        DataError: when constructed without the trunk's file at hand: its name, where to put it, where to get it.

    Forward: `pred` and `target` (B, 3, H, W), RGB in [0, 1], sides from 31 (alex), 16 (vgg) or 17 (squeeze) → scalar.

    >>> LPIPSLoss(net='alxe')
    Traceback (most recent call last):
    metaf2n_arch.utils.checks.OptionError: LPIPSLoss net is 'alxe', expected one of ['alex', 'vgg', 'squeeze']. Did ...
    """

    def __init__(self, net: str = 'alex', loss_weight: float = 1.0, trunk_path: str | None = None) -> None:
        super().__init__()
        self.net = net
        self.loss_weight = float(loss_weight)
        self.network = build_lpips(net, trunk_path)

    def train(self, mode: bool = True) -> LPIPSLoss:
        """Stays in evaluation mode: the heads contain dropout."""
        super().train(mode)
        self.network.eval()
        return self

    def forward(self, pred: Tensor, target: Tensor, **_: Any) -> Tensor:
        require_pair(pred, target, channels=3)
        smallest = TRUNKS[self.net].smallest
        if min(pred.shape[-2:]) < smallest:
            raise ValueError(
                f'LPIPS ({self.net}) needs images of {smallest}x{smallest} or more, got {tuple(pred.shape[-2:])}.'
            )
        dtype = next(self.network.parameters()).dtype
        distance = self.network(2 * pred.to(dtype) - 1, 2 * target.to(dtype) - 1)
        return self.loss_weight * distance.mean()
