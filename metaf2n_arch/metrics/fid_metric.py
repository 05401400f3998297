"""FID, a metric of two sets of images."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from basicsr.utils.registry import METRIC_REGISTRY
from torch import Tensor, nn

from metaf2n_arch.metrics.measure import as_tensor, checked_image, missing
from metaf2n_arch.metrics.sets import SummedSetMetric
from metaf2n_arch.utils.checks import require_choice
from metaf2n_arch.utils.modules import pick_device
from metaf2n_arch.utils.registries import register
from metaf2n_arch.weights.published_networks import load_published

SIDE = 299
FEATURES = 2048

KEPT = 10_000
"""References whose features are kept for the next validation; 8 kB each."""

BLOCK = 64
"""Images whose features are added up at once."""

_references: OrderedDict[tuple[str, ...], Tensor] = OrderedDict()


def frechet_distance(mean: Tensor, covariance: Tensor, mean2: Tensor, covariance2: Tensor) -> float:
    """Fréchet distance of two Gaussians: ‖μ - μ'‖² + Tr(Σ + Σ' - 2 (Σ Σ')^½).

    Tr (Σ Σ')^½ = Σ_i sqrt λ_i, λ the eigenvalues of Σ^½ Σ' Σ^½, which is symmetric even where Σ Σ' is not. With fewer
    images than features some eigenvalues are 0; the small values that rounding gives them are set to 0.

    Args:
        mean, mean2: μ and μ', (K,), float64.
        covariance, covariance2: Σ and Σ', (K, K), float64.

    >>> one, zero = torch.ones(1, 1).double(), torch.zeros(1).double()
    >>> frechet_distance(zero, 4 * one, zero + 3, one)  # 3² + (2 - 1)²
    10.0
    """
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * _without_rounding(values).sqrt() @ vectors.t()
    product = _without_rounding(torch.linalg.eigvalsh(root @ covariance2 @ root))
    spread = covariance.trace() + covariance2.trace() - 2 * product.sqrt().sum()
    return max(0.0, ((mean - mean2).square().sum() + spread).item())


def _without_rounding(eigenvalues: Tensor) -> Tensor:
    floor = eigenvalues.max() * len(eigenvalues) * torch.finfo(eigenvalues.dtype).eps
    return torch.where(eigenvalues > floor, eigenvalues, torch.zeros_like(eigenvalues))


@lru_cache(maxsize=2)
def inception_features(device: torch.device) -> nn.Module:
    """Returns the Inception network of the original FID: (B, 3, 299, 299) in [-1, 1] to (B, 2048).

    Its weights are read from this machine, never downloaded.

    Raises:
        DataError: if its weights file is missing, damaged, or that of another network.
    """
    from basicsr.archs import inception as stock
    from torchvision.models import inception_v3

    network = inception_v3(num_classes=1008, aux_logits=False, weights=None, init_weights=False)
    # BasicSR has the blocks in which the TensorFlow original differs from torchvision's network
    for name, channels in (('Mixed_5b', (192, 32)), ('Mixed_5c', (256, 64)), ('Mixed_5d', (288, 64))):
        setattr(network, name, stock.FIDInceptionA(channels[0], pool_features=channels[1]))
    for name, inner in (('Mixed_6b', 128), ('Mixed_6c', 160), ('Mixed_6d', 160), ('Mixed_6e', 192)):
        setattr(network, name, stock.FIDInceptionC(768, channels_7x7=inner))
    network.Mixed_7b = stock.FIDInceptionE_1(1280)
    network.Mixed_7c = stock.FIDInceptionE_2(2048)
    load_published(network, 'inception', what='FID')
    network.fc = nn.Identity()
    return network.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)


def prepare(image: np.ndarray, mode: str, device: torch.device | str = 'cpu') -> Tensor:
    """Returns an (H, W, 3) BGR image of 8 bits as Inception's input (1, 3, 299, 299); see `FID` for the modes."""
    if mode == 'legacy':
        small = F.interpolate(as_tensor(image, device), size=(SIDE, SIDE), mode='bilinear', align_corners=False)
        return 2 * small - 1
    from PIL import Image

    channels = [
        np.asarray(Image.fromarray(image[..., c].astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
        for c in (2, 1, 0)
    ]
    return (torch.from_numpy(np.stack(channels))[None].to(device).clamp(0, 255) - 128) / 128


def features_of(image: np.ndarray, mode: str, device: torch.device) -> Tensor:
    """Features (K,) of an (H, W, 3) BGR image of 8 bits, on the CPU.

    Each image passes through the network alone, so that its features do not depend on other images of a batch.
    """
    with torch.inference_mode():
        batch = prepare(image, mode, device).contiguous(memory_format=torch.channels_last)
        return inception_features(device)(batch)[0].cpu()


def reference_features(image: np.ndarray, mode: str, device: torch.device) -> Tensor:
    """`features_of` a reference, computed once: every validation has the same references, recognised by content."""
    key = mode, str(device), str(image.shape), hashlib.sha256(image.tobytes()).hexdigest()
    if key not in _references:
        _references[key] = features_of(image, mode, device)
        if len(_references) > KEPT:
            _references.popitem(last=False)
    _references.move_to_end(key)
    return _references[key]


@register(METRIC_REGISTRY)
class FID(SummedSetMetric):
    """Fréchet inception distance of results and references (Heusel et al., NeurIPS 2017), from 0; lower is better.

    The Fréchet distance of two Gaussians fitted to the Inception features of both sets. With fewer images than the 2048
    features it is biased upwards: compare numbers of equal sets only.

    Args:
        mode: how images are resized to 299x299: ``clean``, bicubic with an antialiasing filter in floating point
            (Parmar et al., CVPR 2022; pyiqa's default), or ``legacy``, bilinear without that filter (pytorch-fid).
        crop_border: pixels left out at each border.
        device: where to compute; the GPU if there is one.
        better: ``higher`` or ``lower``, read by BasicSR's record of the best result.

    References may differ from their results in size. The state holds sums of features and of their products in float64.
    Without the weights, or with fewer than two images, the value is NaN, with the reason in the log.

    Raises:
        OptionError: for an unknown mode.
    """

    def __init__(
        self, mode: str = 'clean', crop_border: int = 0, device: str | None = None, better: str = 'lower'
    ) -> None:
        super().__init__()
        require_choice('FID mode', mode, ('clean', 'legacy'))
        self.mode = mode
        self.crop_border = crop_border
        self.device = pick_device(device)
        shapes = {'count': (1,), 'sum': (2, FEATURES), 'product': (2, FEATURES, FEATURES)}
        self.sums = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}
        self._waiting: list[Tensor] = []

    def update(self, img: np.ndarray, img2: np.ndarray | None = None) -> None:
        try:
            result, reference = (
                checked_image(name, x, self.crop_border) for name, x in (('result', img), ('reference', img2))
            )
            features = [
                features_of(result, self.mode, self.device),
                reference_features(reference, self.mode, self.device),
            ]
        except Exception as error:  # no error of a metric may end hours of training
            missing('FID of an image', error)
            return
        self._waiting.append(torch.stack(features))
        if len(self._waiting) == BLOCK:
            self._add_up()

    def _add_up(self) -> None:
        """Adds the waiting features to the sums, by one matrix product for many images."""
        if self._waiting:
            features = torch.stack(self._waiting, dim=1).double()
            self.sums['count'] += len(self._waiting)
            self.sums['sum'] += features.sum(1)
            self.sums['product'].baddbmm_(features.mT, features)
            self._waiting = []

    def state(self) -> dict[str, Tensor]:
        self._add_up()
        return super().state()

    def merge(self, states: Iterable[Mapping[str, Tensor]]) -> None:
        self._waiting = []
        super().merge(states)

    def compute(self) -> float:
        self._add_up()
        count = self.sums['count'].item()
        if count < 2:
            return missing('FID', f'{count:.0f} images could be measured, it needs two or more')
        means = self.sums['sum'] / count
        scatter = self.sums['product'] - count * means[:, :, None] * means[:, None, :]
        covariances = scatter / (count - 1)
        try:
            return frechet_distance(means[0], covariances[0], means[1], covariances[1])
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]  # it does export it
            return missing('FID', error)
