"""Weights files with random values, under the names and in the folders where the published ones would lie."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import Tensor


def trunk(net: str) -> dict[str, Tensor]:
    """A state dict like torchvision's: the right names and shapes, random values, a classifier without storage."""
    from torchvision import models

    build = {'alex': models.alexnet, 'vgg': models.vgg16, 'squeeze': models.squeezenet1_1}[net]
    torch.manual_seed(1)
    with torch.device('meta'):
        shapes = {k: v.shape for k, v in build(weights=None).state_dict().items()}
    return {k: _weight(k, s) if k.startswith('features') else torch.zeros(()).expand(s) for k, s in shapes.items()}


def _weight(name: str, shape: torch.Size) -> Tensor:
    """He's initialisation, so that activations neither vanish nor explode through 13 layers."""
    return torch.randn(shape) * (2 / shape[1:].numel()) ** 0.5 if len(shape) == 4 else 0.05 * torch.randn(shape)


def dists() -> dict[str, Tensor]:
    """The per-channel weights of DISTS."""
    torch.manual_seed(2)
    return {k: torch.rand(1, 1475, 1, 1) for k in ('alpha', 'beta')}


def niqe(path: Path) -> None:
    """NIQE's Gaussian of pristine images: a mean and a covariance of 36 features."""
    from scipy.io import savemat

    rng = np.random.default_rng(3)
    root = rng.normal(size=(36, 36)) / 6
    savemat(path, {'mu_prisparam': rng.normal(size=(1, 36)), 'cov_prisparam': root @ root.T + np.eye(36)})


def brisque(path: Path) -> None:
    """BRISQUE's support vectors and their coefficients."""
    torch.manual_seed(4)
    torch.save((torch.randn(50), torch.randn(50, 36)), path)


def inception(path: Path) -> None:
    """The Inception network of FID: random convolutions, batch norms that change nothing."""
    torch.manual_seed(5)
    state = _pyiqa_inception(lambda network: None, 'fid_inception_v3').state_dict()
    torch.save({k: _weight(k, v.shape) if v.ndim == 4 else v for k, v in state.items()}, path)


def pyiqa_inception(path: Path) -> torch.nn.Module:
    """pyiqa's feature extractor, filled from a local file where it would download one."""
    return _pyiqa_inception(lambda network: network.load_state_dict(torch.load(path, weights_only=True))).eval()


def _pyiqa_inception(load: Callable[[torch.nn.Module], object], part: str = 'InceptionV3') -> torch.nn.Module:
    from pyiqa.archs import inception as theirs

    patch = mock.patch.object(theirs, 'load_pretrained_network', lambda network, url: load(network))
    with patch, warnings.catch_warnings():  # it still passes torchvision's old `pretrained` flag
        warnings.simplefilter('ignore')
        return getattr(theirs, part)()
