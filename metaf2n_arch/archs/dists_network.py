"""DISTS network, built from weights files on this machine."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaf2n_arch.weights.published_networks import load_published

CHANNELS = [3, 64, 128, 256, 512, 512]
# first layer of each stage, and the one after its last, among torchvision's VGG16 features; the layers between stages
# are poolings, which L2Pool replaces
STAGES = ((0, 4), (5, 9), (10, 16), (17, 23), (24, 30))


class L2Pool(nn.Module):
    """Pools by the root of a 3x3 Hann-weighted mean of squares, stride 2: (B, C, H, W) to about half the sides."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        window = torch.tensor([0.5, 1.0, 0.5])
        self.register_buffer('kernel', (window[:, None] * window).div(4)[None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.kernel.expand(x.shape[1], 1, 3, 3)
        return (F.conv2d(x.square(), kernel, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()


class DISTS(nn.Module):
    """Deep image structure and texture similarity (Ding et al., TPAMI 2020) of two images, 0 for equal ones.

    Six stages of features are compared by their means and covariances. Built without weights, which `load_dists`
    loads; frozen, in evaluation mode.

    Forward: two batches (B, 3, H, W), RGB in [0, 1] → (B,).
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models.vgg import cfgs, make_layers

        layers = make_layers(cfgs['D'])
        self.stages = nn.ModuleList()
        for number, (first, last) in enumerate(STAGES):
            pool = [('pool', L2Pool())] if number else []
            # each layer keeps its number in torchvision's list, under which its weights are published
            self.stages.append(nn.Sequential(OrderedDict([*pool, *((str(i), layers[i]) for i in range(first, last))])))
        self.register_buffer('mean', torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1), persistent=False)
        self.alpha = nn.Parameter(torch.ones(1, sum(CHANNELS), 1, 1))
        self.beta = nn.Parameter(torch.ones(1, sum(CHANNELS), 1, 1))
        self.eval().requires_grad_(False)

    def features(self, x: Tensor) -> list[Tensor]:
        """Returns x itself and the activations of the five stages."""
        features = [x]
        x = (x - self.mean) / self.std
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        total = self.alpha.sum() + self.beta.sum()
        alpha, beta = (torch.split(w / total, CHANNELS, dim=1) for w in (self.alpha, self.beta))
        similarity = x.new_zeros(len(x))
        for a, b, p, q in zip(alpha, beta, self.features(x), self.features(y)):
            mean_p, mean_q = p.mean((2, 3), keepdim=True), q.mean((2, 3), keepdim=True)
            moved_p, moved_q = p - mean_p, q - mean_q
            covariance = (moved_p * moved_q).mean((2, 3), keepdim=True)
            variances = (moved_p.square() + moved_q.square()).mean((2, 3), keepdim=True)
            texture = (2 * mean_p * mean_q + 1e-6) / (mean_p.square() + mean_q.square() + 1e-6)
            structure = (2 * covariance + 1e-6) / (variances + 1e-6)
            similarity = similarity + (a * texture + b * structure).sum((1, 2, 3))
        return 1 - similarity


def load_dists() -> DISTS:
    """Returns the network with the published weights, found on the search path of weights files.

    Raises:
        DataError: if the weights of the VGG16 trunk or of DISTS are missing or belong to another network.
    """
    network = DISTS()
    # 1.5.weight of the stages is features.5.weight of torchvision's VGG16
    load_published(network.stages, 'lpips_vgg', lambda name: 'features.' + name.split('.', 1)[1], what='DISTS')
    load_published(nn.ParameterDict({'alpha': network.alpha, 'beta': network.beta}), 'dists', what='DISTS')
    return network.requires_grad_(False)
